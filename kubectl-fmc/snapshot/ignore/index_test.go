package ignore_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/ignore"
)

// TestIndexForms: a file that is tracked is never ignored, in whichever form
// git keeps its index.
func TestIndexForms(t *testing.T) {
	isolate(t)
	for name, form := range map[string]func(dir string){
		"version 2": func(dir string) { git(t, dir, "update-index", "--index-version", "2") },
		"version 4": func(dir string) { git(t, dir, "update-index", "--index-version", "4") },
		"split":     func(dir string) { git(t, dir, "update-index", "--split-index") },
		"untracked cache": func(dir string) {
			git(t, dir, "update-index", "--force-untracked-cache")
			git(t, dir, "status")
		},
		"intent to add": func(dir string) {
			git(t, dir, "rm", "-q", "--cached", "out/kept.bin")
			git(t, dir, "add", "-f", "--intent-to-add", "out/kept.bin")
		},
		"skip-worktree": func(dir string) { git(t, dir, "update-index", "--skip-worktree", "out/kept.bin") },
		"no checksum": func(dir string) { // as index.skipHash has it
			path := filepath.Join(dir, ".git/index")
			index, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			clear(index[len(index)-20:])
			write(t, path, string(index))
		},
		"sparse": func(dir string) {
			git(t, dir, "commit", "-qm", "one")
			git(t, dir, "sparse-checkout", "set", "--cone", "--sparse-index", "out")
			write(t, filepath.Join(dir, "src/new.go"), "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			git(t, dir, "init", "-q")
			git(t, dir, "config", "user.email", "a@b")
			git(t, dir, "config", "user.name", "a")
			for _, name := range []string{"src/a.go", "out/kept.bin", "out/made.bin"} {
				write(t, filepath.Join(dir, name), "")
			}
			write(t, filepath.Join(dir, ".gitignore"), "/out/\n")
			git(t, dir, "add", ".")
			git(t, dir, "add", "-f", "out/kept.bin")
			form(dir)
			want, got := gitFiles(t, dir), ourFiles(t, dir)
			if !slices.Equal(want, got) || !slices.Contains(got, "out/kept.bin") || slices.Contains(got, "out/made.bin") {
				t.Errorf("differs from git (- git has it, + we have it):\n%s", diff(want, got))
			}
		})
	}
}

// TestStatesOfARepository: in the middle of a merge, and with a submodule
// checked out, the files are those of git.
func TestStatesOfARepository(t *testing.T) {
	isolate(t)
	identity := []string{"-c", "user.email=a@b", "-c", "user.name=a", "-c", "protocol.file.allow=always"}
	run := func(dir string, args ...string) { t.Helper(); git(t, dir, append(slices.Clone(identity), args...)...) }
	library := t.TempDir()
	run(library, "init", "-q")
	write(t, filepath.Join(library, ".gitignore"), "*.tmp\n/kept\n")
	write(t, filepath.Join(library, "lib.go"), "")
	write(t, filepath.Join(library, "kept"), "")
	run(library, "add", ".")
	run(library, "add", "-f", "kept")
	run(library, "commit", "-qm", "one")

	dir := t.TempDir()
	run(dir, "init", "-q", "-b", "main")
	write(t, filepath.Join(dir, ".gitignore"), "*.log\n")
	write(t, filepath.Join(dir, "a.log"), "base")
	run(dir, "add", "-f", ".")
	run(dir, "submodule", "add", "-q", library, "modules/lib")
	run(dir, "commit", "-qm", "one")
	run(dir, "checkout", "-qb", "other")
	write(t, filepath.Join(dir, "a.log"), "theirs")
	run(dir, "commit", "-qam", "theirs")
	run(dir, "checkout", "-q", "main")
	write(t, filepath.Join(dir, "a.log"), "mine")
	run(dir, "commit", "-qam", "mine")
	if text, err := command(dir, append(slices.Clone(identity), "merge", "other")...).CombinedOutput(); err == nil {
		t.Fatalf("the merge has no conflict:\n%s", text)
	}
	for _, name := range []string{"b.log", "modules/lib/x.tmp", "modules/lib/x.log"} {
		write(t, filepath.Join(dir, name), "")
	}
	// git names a submodule, and not what is in it.
	var want []string
	for _, name := range gitFiles(t, dir) {
		if name != "modules/lib" {
			want = append(want, name)
		}
	}
	for _, name := range gitFiles(t, filepath.Join(dir, "modules/lib")) {
		want = append(want, "modules/lib/"+name)
	}
	slices.Sort(want)
	got := ourFiles(t, dir)
	if !slices.Equal(want, got) || !slices.Contains(got, "a.log") || !slices.Contains(got, "modules/lib/kept") {
		t.Errorf("differs from git (- git has it, + we have it):\n%s", diff(want, got))
	}
	if want, got := gitFiles(t, filepath.Join(dir, "modules/lib")), ourFiles(t, filepath.Join(dir, "modules/lib")); !slices.Equal(want, got) {
		t.Errorf("in the submodule: differs from git (- git has it, + we have it):\n%s", diff(want, got))
	}
}

// TestExcludesFile: whatever core.excludesFile names, its rules are git's.
func TestExcludesFile(t *testing.T) {
	home := isolate(t)
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	for _, name := range []string{"a.xdg", "a.home", "a.near", "b"} {
		write(t, filepath.Join(dir, name), "")
	}
	write(t, filepath.Join(home, ".config/git/ignore"), "*.xdg\n")
	write(t, filepath.Join(home, "elsewhere"), "*.home\n")
	write(t, filepath.Join(dir, ".git/near"), "*.near\n")
	for _, value := range []string{"", "~/elsewhere", ".git/near", filepath.Join(home, "elsewhere"), "/nowhere/at/all"} {
		git(t, dir, "config", "core.excludesFile", value)
		if want, got := gitFiles(t, dir), ourFiles(t, dir); !slices.Equal(want, got) {
			t.Errorf("core.excludesFile=%q: differs from git (- git has it, + we have it):\n%s", value, diff(want, got))
		}
	}
}

// TestHostileRules: what stands where rules are looked for may be anything. A
// named pipe would be waited for; of a huge file, each line would be compared
// with each name.
func TestHostileRules(t *testing.T) {
	isolate(t)
	for _, name := range []string{".gitignore", ".fmcignore", ".git", ".git/index", ".git/info/exclude", ".git/commondir", "sub/.git"} {
		dir := t.TempDir()
		if strings.HasPrefix(name, ".git/") {
			git(t, dir, "init", "-q")
			os.Remove(filepath.Join(dir, name))
		}
		write(t, filepath.Join(dir, "sub/a"), "")
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := ourFiles(t, dir); !slices.Contains(got, "sub/a") {
			t.Errorf("with a named pipe for %s: %q", name, got)
		}
	}
	huge := strings.Repeat("a\n", 25<<20)
	for _, name := range []string{".gitignore", ".fmcignore", ".git/info/exclude"} {
		dir := t.TempDir()
		git(t, dir, "init", "-q")
		write(t, filepath.Join(dir, name), huge)
		_, err := ignore.Load(dir, ignore.Options{})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "at most 1048576 bytes") {
			t.Errorf("%s of 50 MiB: %v, want an error that names it and the limit", name, err)
		}
	}
}
