package snapshot_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
)

// TestTreeIsGits: whatever may be in a directory, the tree is the one that git
// would make.
func TestTreeIsGits(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"main.py": "print()\n", "empty": "", "crlf.txt": "a\r\nb\r\n", "a b": "space", "new\nline": "x", "tab\t": "x",
		"latin-\xe9": "not UTF-8", "ünïcödé/ß": "x", "binary": "\x00\x01\xff", "-dash": "x", "quote\"'": "x", `back\slash`: "x",
		"sub/deep/er/file": "x", "Case": "1", "case": "2",
		// Where a directory stands among files depends on the '/' behind it.
		"lib/x": "1", "lib.go": "2", "lib-a": "3", "lib0": "4",
	} {
		write(t, filepath.Join(dir, name), content)
	}
	write(t, filepath.Join(dir, "run.sh"), "#!/bin/sh\n")
	if err := os.Chmod(filepath.Join(dir, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "main.py", "dangling": "no where", "sub/up": "../..", "absolute": "/etc/hostname"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "hollow/inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	snap := take(t, open(t, dir))
	if want := gitTree(t, dir); snap.Tree.String() != want {
		t.Errorf("tree = %s, git's is %s", snap.Tree, want)
	}
	if snap.Files != 24 || snap.Changed != 24 {
		t.Errorf("Files, Changed = %d, %d, want 24 of both", snap.Files, snap.Changed)
	}
}

// TestEmpty: a directory without a file has the tree that git knows as empty.
func TestEmpty(t *testing.T) {
	isolate(t)
	snap := take(t, open(t, t.TempDir()))
	if got := snap.Tree.String(); got != "4b825dc642cb6eb9a060e54bf8d69288fbee4904" || snap.Files != 0 {
		t.Errorf("tree, files = %s, %d", got, snap.Files)
	}
}

func TestSkipped(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a")
	write(t, filepath.Join(dir, "GIT~1"), "a")
	write(t, filepath.Join(dir, "sub/.git \u200c/a"), "a")
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mknod(filepath.Join(dir, "socket"), syscall.S_IFSOCK|0o644, 0); err != nil {
		t.Fatal(err)
	}
	snap := take(t, open(t, dir))
	var got []string
	for _, s := range snap.Skipped {
		got = append(got, s.String())
	}
	slices.Sort(got)
	want := []string{
		`"GIT~1": some systems take the name for git's own directory`,
		`"pipe": a named pipe`, `"socket": a socket`,
		`"sub/.git \u200c": some systems take the name for git's own directory`,
	}
	if !slices.Equal(got, want) || snap.Files != 1 {
		t.Errorf("files = %d, skipped:\n%s\nwant 1 and:\n%s", snap.Files, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestUnreadable: a file that cannot be read fails the snapshot and is named;
// once it can be, nothing is missing.
func TestUnreadable(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a")
	repo := open(t, dir)
	take(t, repo)
	remove(t, filepath.Join(dir, "a"))
	write(t, filepath.Join(dir, "b"), "b")
	write(t, filepath.Join(dir, "sub/secret"), "s")
	repo.OnOpen(func(path string) error {
		if filepath.Base(path) == "secret" {
			return syscall.EACCES // which root, as whom tests may run, never gets
		}
		return nil
	})
	_, err := repo.TakePaths(context.Background(), []string{"a", "b", "sub"})
	if err == nil || !strings.Contains(err.Error(), `"sub/secret"`) || !strings.Contains(err.Error(), ".fmcignore") {
		t.Fatalf("error = %v, want one that names the file and the way out", err)
	}
	write(t, filepath.Join(dir, ".fmcignore"), "secret\n")
	snap := takePaths(t, repo, ".fmcignore")
	remove(t, filepath.Join(dir, "sub"))
	if want := gitTree(t, dir); snap.Tree.String() != want {
		t.Errorf("tree = %s, git's is %s", snap.Tree, want)
	}
}

// TestIndex: the next run reads what changed, and nothing else.
func TestIndex(t *testing.T) {
	isolate(t)
	dir, cache := t.TempDir(), t.TempDir()
	generate(t, dir, 200)
	first := openWith(t, dir, cache)
	before := take(t, first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, nameOf(8)), "edited")
	remove(t, filepath.Join(dir, nameOf(9)))
	second := openWith(t, dir, cache)
	var read []string
	second.OnOpen(func(path string) error { read = append(read, path); return nil })
	after := take(t, second)
	if want := gitTree(t, dir); after.Tree.String() != want {
		t.Errorf("tree = %s, git's is %s", after.Tree, want)
	}
	if before.Tree == after.Tree || !slices.Equal(read, []string{nameOf(8)}) {
		t.Errorf("read %q, want only the edited file", read)
	}
}

// TestRacy: a change right after the snapshot that leaves size and times as
// they were is not lost.
func TestRacy(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	at := time.Now().Truncate(time.Second)
	repo := open(t, dir)
	for i := range 20 {
		content := string(rune('a' + i))
		write(t, path, content)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		if snap, want := take(t, repo), gitTree(t, dir); snap.Tree.String() != want {
			t.Fatalf("after edit %d: tree = %s, git's is %s", i, snap.Tree, want)
		}
	}
}

// TestDamagedCache: whatever is left in the cache, the snapshot is right.
func TestDamagedCache(t *testing.T) {
	isolate(t)
	dir, cache := t.TempDir(), t.TempDir()
	generate(t, dir, 60)
	want := gitTree(t, dir)
	for name, damage := range map[string]func(file string, content []byte) []byte{
		"cut short": func(_ string, c []byte) []byte { return c[:len(c)/2] },
		"empty":     func(string, []byte) []byte { return nil },
		"zeros":     func(_ string, c []byte) []byte { return append(c[:len(c)/3], make([]byte, 2*len(c)/3)...) },
		"no objects": func(file string, c []byte) []byte {
			if strings.HasSuffix(file, ".objects") {
				return nil
			}
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			repo := openWith(t, dir, cache)
			take(t, repo)
			where := repo.CacheDir()
			if err := repo.Close(); err != nil {
				t.Fatal(err)
			}
			files, _ := filepath.Glob(filepath.Join(where, "*"))
			for _, file := range files {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				write(t, file, string(damage(file, content)))
			}
			repo = openWith(t, dir, cache)
			snap := take(t, repo)
			if snap.Tree.String() != want {
				t.Errorf("tree = %s, git's is %s", snap.Tree, want)
			}
			for _, id := range difference(t, repo, snap) {
				if _, err := repo.Entry(id); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestMoving: a file that is written while it is read is read again.
func TestMoving(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	write(t, path, "first")
	repo := open(t, dir)
	reads := 0
	repo.OnOpen(func(string) error {
		if reads++; reads < 4 {
			write(t, path, strings.Repeat("x", reads))
		}
		return nil
	})
	snap := take(t, repo)
	if want := gitTree(t, dir); snap.Tree.String() != want || reads != 4 {
		t.Errorf("tree = %s after %d reads, git's is %s", snap.Tree, reads, want)
	}
}

// TestOpenErrors: what cannot be opened is named.
func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	for path, part := range map[string]string{"file": "it is a file", "nothing": "no such file"} {
		_, err := snapshot.Open(filepath.Join(dir, path), snapshot.Options{CacheDir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%s) = %v, want an error with %q", path, err, part)
		}
	}
}

// TestVanishedDirectory: a directory that is gone is an error, not an empty
// snapshot, which would empty the pods as well.
func TestVanishedDirectory(t *testing.T) {
	isolate(t)
	dir := filepath.Join(t.TempDir(), "service")
	write(t, filepath.Join(dir, "a"), "a")
	repo := open(t, dir)
	want := take(t, repo).Tree
	rename(t, dir, dir+"-away")
	if snap, err := repo.Take(context.Background()); err == nil {
		t.Fatalf("Take() of a directory that is gone = %+v, want an error", snap)
	}
	rename(t, dir+"-away", dir)
	if got := takePaths(t, repo).Tree; got != want {
		t.Errorf("tree = %s after it came back, want %s", got, want)
	}
}

// TestCacheInside: the cache is no part of the snapshot, wherever it is.
func TestCacheInside(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a")
	repo := openWith(t, dir, filepath.Join(dir, ".cache"))
	first := take(t, repo)
	if snap := take(t, repo); snap.Files != 1 || snap.Tree != first.Tree {
		t.Errorf("Files = %d, tree %s then %s: the cache is in the snapshot", snap.Files, first.Tree, snap.Tree)
	}
}
