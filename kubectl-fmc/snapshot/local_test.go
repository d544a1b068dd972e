package snapshot_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
)

// TestNothingComesBack: whatever becomes of the hub, the directory and the
// user's repository in it stay as they are, to the last time stamp. Where files
// go both ways, a lost pod has emptied the developer's directory.
func TestNothingComesBack(t *testing.T) {
	hubs(t, func(t *testing.T, h hub) {
		dir := t.TempDir()
		git(t, dir, nil, "init", "-q")
		generate(t, dir, 20)
		git(t, dir, nil, "add", "src")
		wake := make(chan struct{})
		r := run(t, dir, h.url, func(c *snapshot.Config) { c.CheckEvery, c.Wake = -1, wake })
		r.awaitTree()
		before := fingerprint(t, dir)

		// Somebody else's push takes every file away and has one of its own.
		theirs := t.TempDir()
		write(t, filepath.Join(theirs, nameOf(0)), "theirs")
		other := open(t, theirs)
		over := pushTree(t, newPusher(h, other), take(t, other))
		wake <- struct{}{}
		if e := r.await(func(e snapshot.Event) bool { return e.Kind != snapshot.Failed }); e.Kind != snapshot.Replaced || e.Head != over.Commit {
			t.Errorf("event = %+v, want Replaced by %s", e, over.Commit)
		}
		if after := fingerprint(t, dir); after != before {
			t.Error("somebody else's push has changed the directory")
		}

		rename(t, h.repository("orders"), filepath.Join(t.TempDir(), "lost"))
		wake <- struct{}{}
		e := r.awaitTree()
		checkHub(t, h, e.Push, e.Snapshot)
		if after := fingerprint(t, dir); after != before {
			t.Error("the loss of the hub has changed the directory")
		}
	})
}

// TestDirectoryIsFoundOnce: what was named at the start is synced to the end, also
// after the hub was lost, wherever its name leads to by then.
func TestDirectoryIsFoundOnce(t *testing.T) {
	isolate(t)
	h, above, elsewhere := newHub(t), t.TempDir(), t.TempDir()
	dir := filepath.Join(above, "real")
	generate(t, dir, 20)
	must(t, os.Symlink("real", filepath.Join(above, "link")))
	write(t, filepath.Join(elsewhere, "link/wrong"), "wrong")
	t.Chdir(above)
	wake := make(chan struct{})
	r := run(t, "link", h.url, func(c *snapshot.Config) { c.CheckEvery, c.Wake = -1, wake })
	r.dir = dir
	r.awaitTree()

	t.Chdir(elsewhere)
	must(t, os.Remove(filepath.Join(above, "link")))
	must(t, os.Symlink(elsewhere, filepath.Join(above, "link")))
	rename(t, h.repository("orders"), filepath.Join(t.TempDir(), "lost"))
	wake <- struct{}{}
	r.awaitTree()
	write(t, filepath.Join(dir, nameOf(3)), "edited")
	r.awaitTree()
	write(t, filepath.Join(dir, ".gitignore"), "*.log\n") // everything is looked at
	e := r.awaitTree()
	checkHub(t, h, e.Push, e.Snapshot)
}

// TestNothingNew: files that were touched, or written anew with what they had, are
// no save: nothing is pushed, so that nothing is built or started again.
func TestNothingNew(t *testing.T) {
	isolate(t)
	h, dir, beside := newHub(t), t.TempDir(), t.TempDir()
	generate(t, dir, 60)
	const touched = 40
	read := make(chan struct{}, 100) // the last of those that will be touched
	r := run(t, dir, h.url, func(c *snapshot.Config) {
		c.Repo.OnOpen(func(path string) error {
			if strings.HasSuffix(path, nameOf(touched-1)) {
				read <- struct{}{}
			}
			return nil
		})
	})
	r.awaitTree()
	<-read
	for i := range touched {
		path := filepath.Join(dir, nameOf(i))
		content, err := os.ReadFile(path)
		must(t, err)
		must(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Duration(i)*time.Second)))
		write(t, filepath.Join(beside, "same"), string(content))
		rename(t, filepath.Join(beside, "same"), path)
	}
	<-read
	write(t, filepath.Join(dir, "marker"), "x")
	e := r.await(func(snapshot.Event) bool { return true })
	if e.Kind != snapshot.Synced || !slices.Equal(e.Snapshot.Paths, []string{"marker"}) || e.Snapshot.Changed != 1 {
		t.Errorf("event = %+v, want one change, of the marker", e)
	}
	if n := git(t, h.repository("orders"), nil, "rev-list", "--count", "main"); n != "2" {
		t.Errorf("the hub has %s commits, want 2", n)
	}
}
