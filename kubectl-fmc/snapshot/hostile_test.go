package snapshot_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestOddTrees: names as long as they may be, deep directories and links that
// lead in circles are what git makes of them.
func TestOddTrees(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, strings.Repeat("n", 255)), "long")
	write(t, filepath.Join(dir, strings.Repeat("\xff", 255)), "long, and no text")
	write(t, filepath.Join(dir, strings.Repeat("d/", 200), "deep"), "deep")
	for name, target := range map[string]string{
		"a": "b", "b": "a", "self": "self", "up": "..", "here": ".", "d/root": "/", "d/d/far": strings.Repeat("../", 300),
	} {
		must(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	h, repo := newHub(t), open(t, dir)
	snap := take(t, repo)
	if want := gitTree(t, dir); snap.Tree.String() != want || snap.Files != 10 {
		t.Errorf("tree = %s with %d files, git's is %s with 10", snap.Tree, snap.Files, want)
	}
	checkHub(t, h, pushTree(t, newPusher(h, repo), snap), snap)
}

// TestSwappedWhileRead: what takes a file's name between looking and opening
// is neither waited for nor followed.
func TestSwappedWhileRead(t *testing.T) {
	isolate(t)
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "not of this directory")
	for name, swap := range map[string]func(path string) error{
		"named pipe":    func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"symbolic link": func(path string) error { return os.Symlink(secret, path) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o755) },
		"another file":  func(path string) error { return os.WriteFile(path, []byte("another"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "a"), "first")
			write(t, filepath.Join(dir, "b"), "b")
			repo := open(t, dir)
			swapped := false
			repo.OnOpen(func(path string) error {
				if path != "a" || swapped {
					return nil
				}
				swapped = true
				if err := os.Remove(filepath.Join(dir, path)); err != nil {
					return err
				}
				return swap(filepath.Join(dir, path))
			})
			take(t, repo)
			// The swap is a change, which a watcher reports.
			snap := takePaths(t, repo, "a")
			if name == "named pipe" {
				if snap.Files != 1 || len(snap.Skipped) != 1 {
					t.Errorf("%d files, skipped %v, want the pipe skipped with a word", snap.Files, snap.Skipped)
				}
				remove(t, filepath.Join(dir, "a"))
			}
			if want := gitTree(t, dir); snap.Tree.String() != want || !swapped {
				t.Errorf("tree = %s, git's is %s", snap.Tree, want)
			}
		})
	}
}

// TestTruncatedAndWritten: between the two steps of an editor's save the file
// is not taken for emptied; one that stays empty is.
func TestTruncatedAndWritten(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	repo := open(t, dir)
	// However slow the machine is, the file counts as changed just now.
	later := time.Now().Add(time.Hour)
	for i, final := range []string{"written", "", "from empty"} {
		if i == 0 {
			write(t, path, "content")
			take(t, repo)
		}
		reads := 0
		repo.OnOpen(func(string) error {
			if reads++; reads == 3 && final != "" {
				write(t, path, final)
			}
			return nil
		})
		write(t, path, "")
		must(t, os.Chtimes(path, later, later))
		if i == 2 {
			write(t, path, final)
		}
		snap := takePaths(t, repo, "a")
		if want := gitTree(t, dir); snap.Tree.String() != want {
			t.Errorf("%q: tree = %s after %d reads, git's is %s", final, snap.Tree, reads, want)
		}
	}
}

// TestReadAgainWhole: a large file that is written meanwhile is read again.
func TestReadAgainWhole(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "large")
	write(t, path, strings.Repeat("a", 9<<20))
	repo := open(t, dir)
	reads := 0
	repo.OnOpen(func(string) error {
		if reads++; reads < 3 {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(fmt.Appendf(nil, "%d", reads), 9<<20-1)
			f.Close()
			return err
		}
		return nil
	})
	snap := take(t, repo)
	if want := gitTree(t, dir); snap.Tree.String() != want || reads != 3 {
		t.Errorf("tree = %s after %d reads, git's is %s", snap.Tree, reads, want)
	}
}
