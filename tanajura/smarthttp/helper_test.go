package smarthttp_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// worktree is a git repository of a test, with the real git.
type worktree struct {
	t   testing.TB
	dir string
}

func newWorktree(t testing.TB) worktree {
	t.Helper()
	w := worktree{t, t.TempDir()}
	w.git("init", "-q", "-b", "main")
	return w
}

// gitIn runs git and returns its exit code and both streams.
func gitIn(t testing.TB, dir, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com")
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() < 0 {
			t.Fatalf("git %v: %v\n%s", args, err, errs.String())
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// git runs git, which must succeed, and returns its trimmed stdout.
func (w worktree) git(args ...string) string {
	w.t.Helper()
	code, out, errs := gitIn(w.t, w.dir, "", args...)
	if code != 0 {
		w.t.Fatalf("git %v: exit code %d\n%s%s", args, code, out, errs)
	}
	return strings.TrimSpace(out)
}

// try runs git and returns its exit code and stderr.
func (w worktree) try(args ...string) (int, string) {
	w.t.Helper()
	code, _, errs := gitIn(w.t, w.dir, "", args...)
	return code, errs
}

func (w worktree) write(name string, data []byte) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// commit commits one file and returns the commit.
func (w worktree) commit(name, content string) string {
	w.t.Helper()
	w.write(name, []byte(content))
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "change "+name)
	return w.git("rev-parse", "HEAD")
}

// fill makes a tree of files: dirs directories with perDir files each.
func (w worktree) fill(dirs, perDir int) string {
	w.t.Helper()
	for d := range dirs {
		for f := range perDir {
			w.write(fmt.Sprintf("d%03d/f%03d.txt", d, f), fmt.Appendf(nil, "directory %d file %d\n%s", d, f, strings.Repeat("line\n", 40)))
		}
	}
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "fill")
	return w.git("rev-parse", "HEAD")
}

// objectCount is what `git count-objects -v` says of a bare repository.
func objectCount(w worktree, bare string) map[string]int {
	w.t.Helper()
	count := map[string]int{}
	for line := range strings.Lines(w.git("-C", bare, "count-objects", "-v")) {
		var key string
		var n int
		if _, err := fmt.Sscanf(line, "%s %d", &key, &n); err == nil {
			count[strings.TrimSuffix(key, ":")] = n
		}
	}
	return count
}
