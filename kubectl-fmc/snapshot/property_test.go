package snapshot_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// editor makes random changes and notes the paths that a watcher would report.
type editor struct {
	t       *testing.T
	r       *rand.Rand
	dir     string
	changed []string
}

func (e *editor) path() string {
	names := []string{"a", "b", "b-", "b.x", "d", "\xff"}
	path := names[e.r.IntN(len(names))]
	for e.r.IntN(2) == 0 {
		path = filepath.Join(path, names[e.r.IntN(len(names))])
	}
	return path
}

// edit makes one change; one that cannot be made, like a file below a file,
// is none, though its path is reported all the same.
func (e *editor) edit() {
	path := e.path()
	abs := filepath.Join(e.dir, path)
	e.changed = append(e.changed, path)
	if e.throughLink(filepath.Dir(path)) {
		return // it would change a file elsewhere, which a watcher reports there
	}
	if e.throughLink(path) && e.r.IntN(2) == 0 {
		os.Remove(abs)
	}
	if e.throughLink(path) {
		return
	}
	switch e.r.IntN(12) {
	case 0, 1, 2:
		os.WriteFile(abs, fmt.Appendf(nil, "%d", e.r.IntN(5)), 0o644)
	case 3, 4:
		if os.MkdirAll(filepath.Dir(abs), 0o755) == nil {
			os.WriteFile(abs, []byte(path), 0o644)
		}
		// A watcher reports the first directory that was made.
		for p := filepath.Dir(path); p != "."; p = filepath.Dir(p) {
			e.changed = append(e.changed, p)
		}
	case 5:
		os.RemoveAll(abs)
	case 6, 7:
		to := e.path()
		if e.throughLink(filepath.Dir(to)) {
			return
		}
		os.Rename(abs, filepath.Join(e.dir, to))
		e.changed = append(e.changed, to)
	case 8:
		os.Chmod(abs, 0o644|os.FileMode(e.r.IntN(2))*0o111|os.FileMode(e.r.IntN(2))*0o100)
		if info, err := os.Lstat(abs); err == nil && info.IsDir() {
			os.Chmod(abs, 0o755)
		}
	case 9:
		os.Symlink(e.path(), abs)
	case 10:
		os.Mkdir(abs, 0o755)
	case 11:
		rules := filepath.Join(filepath.Dir(path), ".gitignore")
		os.WriteFile(filepath.Join(e.dir, rules), []byte([]string{"a\n", "b/\n", "*.x\n!b.x\n", "/d\n", ""}[e.r.IntN(5)]), 0o644)
		e.changed = append(e.changed, rules)
	}
}

// throughLink reports whether path is or leads through a symbolic link.
func (e *editor) throughLink(path string) bool {
	for ; path != "."; path = filepath.Dir(path) {
		if info, err := os.Lstat(filepath.Join(e.dir, path)); err == nil && info.Mode()&os.ModeSymlink != 0 {
			return true
		}
	}
	return false
}

// TestRandomEdits: after any changes, looking at the changed paths gives the
// tree that looking at everything gives, and that git gives.
func TestRandomEdits(t *testing.T) {
	isolate(t)
	for seed := range uint64(6) {
		dir := t.TempDir()
		e := &editor{t: t, r: rand.New(rand.NewPCG(seed, 3)), dir: dir}
		repo, fresh := open(t, dir), open(t, dir)
		take(t, repo)
		for step := range 40 {
			e.changed = nil
			for range 1 + e.r.IntN(6) {
				e.edit()
			}
			snap := takePaths(t, repo, e.changed...)
			if full := take(t, fresh); snap.Tree != full.Tree || snap.Files != full.Files || snap.Bytes != full.Bytes {
				t.Fatalf("seed %d, step %d, changed %q: tree %s with %d files of %d bytes; by looking at everything %s with %d of %d",
					seed, step, e.changed, snap.Tree, snap.Files, snap.Bytes, full.Tree, full.Files, full.Bytes)
			}
			if step%8 == 7 {
				if want := gitTree(t, dir); snap.Tree.String() != want {
					t.Fatalf("seed %d, step %d: tree = %s, git's is %s", seed, step, snap.Tree, want)
				}
			}
		}
	}
}

// TestCaseOnlyRename: where file systems fold case, the old name still finds
// the file.
func TestCaseOnlyRename(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "sub/Readme"), "x")
	repo := open(t, dir)
	take(t, repo)
	rename(t, filepath.Join(dir, "sub/Readme"), filepath.Join(dir, "sub/README"))
	snap := takePaths(t, repo, "sub/Readme", "sub/README")
	if want := gitTree(t, dir); snap.Tree.String() != want || snap.Changed != 2 {
		t.Errorf("tree = %s with %d changes, git's is %s", snap.Tree, snap.Changed, want)
	}
}
