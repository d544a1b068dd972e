package snapshot_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

// isolate keeps the developer's own git settings out of the test.
func isolate(t testing.TB) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
}

// git runs git with variables set and returns what it prints.
func git(t testing.TB, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// open opens a Repo with a cache of its own.
func open(t testing.TB, dir string) *snapshot.Repo {
	t.Helper()
	return openWith(t, dir, t.TempDir())
}

func openWith(t testing.TB, dir, cache string) *snapshot.Repo {
	t.Helper()
	repo, err := snapshot.Open(dir, snapshot.Options{CacheDir: cache, Service: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { repo.Close() })
	return repo
}

func take(t testing.TB, repo *snapshot.Repo) snapshot.Snapshot {
	t.Helper()
	snap, err := repo.Take(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func takePaths(t testing.TB, repo *snapshot.Repo, paths ...string) snapshot.Snapshot {
	t.Helper()
	snap, err := repo.TakePaths(context.Background(), paths)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// difference returns the ids of all that a snapshot consists of.
func difference(t testing.TB, repo *snapshot.Repo, snap snapshot.Snapshot) []object.ID {
	t.Helper()
	ids, err := repo.Difference(snap.Tree, object.ID{})
	if err != nil {
		t.Fatal(err)
	}
	return append(ids, snap.Commit)
}

// gitTree returns the tree that the real git makes of dir's files, which must
// all be ones that git can add: it uses a repository elsewhere.
func gitTree(t testing.TB, dir string) string {
	t.Helper()
	bare := t.TempDir()
	git(t, bare, nil, "init", "-q", "--bare")
	env := []string{"GIT_DIR=" + bare, "GIT_WORK_TREE=" + dir, "GIT_INDEX_FILE=" + filepath.Join(bare, "temporary-index")}
	git(t, dir, env, "-c", "core.autocrlf=false", "add", "--all", ".")
	return git(t, dir, env, "write-tree")
}

// fingerprint returns all that is in dir, for a comparison.
func fingerprint(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v %v", strings.TrimPrefix(path, dir), info.Mode(), info.ModTime())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", text)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// generate fills dir with n files of 0.8 to 4 kB in directories of 20, and
// makes them look old, so that no read of them counts as racy.
func generate(t testing.TB, dir string, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("return value handler context request response error package func type struct order price item user total string import")
	for i := range n {
		var b bytes.Buffer
		for size := 800 + r.IntN(3200); b.Len() < size; {
			fmt.Fprintf(&b, "%s %s_%d ", words[r.IntN(len(words))], words[r.IntN(len(words))], r.IntN(10000))
			if r.IntN(8) == 0 {
				b.WriteByte('\n')
			}
		}
		write(t, filepath.Join(dir, nameOf(i)), b.String())
	}
	// The change time cannot be set; it is the clock that has to move on.
	time.Sleep(50 * time.Millisecond)
}

// nameOf returns the path of the i-th generated file.
func nameOf(i int) string {
	return fmt.Sprintf("src/p%02d/q%02d/file%05d.go", i/400, i/20%20, i)
}
