package quick_test

import (
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"testing"

	"github.com/formicarium/formicarium/tanajura/quick"
)

// TestBesideCollections: saves, pushes by git and collections at once leave
// nothing that git finds wrong.
func TestBesideCollections(t *testing.T) {
	f := newFixture(t)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for _, args := range [][]string{
		{"-c", "gc.packRefs=false", "gc", "--quiet", "--cruft", "--prune=600.seconds.ago"},
		{"repack", "-d", "-q", "--geometric=2"},
	} {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// The two may get into each other's way, which is said; a hub has one.
				_ = exec.Command("git", append([]string{"--git-dir=" + f.path}, args...)...).Run()
			}
		})
	}
	taken := 0
	for i := range 40 {
		f.write(fmt.Sprintf("d1/sub/f%d", i%5), fmt.Sprintln("save", i))
		commit := f.commit()
		err := f.taker.Take(f.path, quick.Push{Old: f.old, New: commit, Pack: f.pack(commit)})
		switch {
		case errors.Is(err, quick.ErrDoubt):
			t.Log(i, err)
			f.git("", "push", "-q", f.path, "main")
		case err != nil:
			t.Fatal(err)
		default:
			taken++
		}
		f.old = commit
	}
	close(stop)
	wait.Wait()
	f.git("", "--git-dir="+f.path, "fsck", "--strict", "--full", "--no-dangling")
	if f.head() != f.old || taken == 0 {
		t.Errorf("the branch is at %s, want %s; %d saves were taken", f.head(), f.old, taken)
	}
}
