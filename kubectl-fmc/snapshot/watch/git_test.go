package watch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/watch"
)

// TestGitAtWork: what git changes under the lock of its index is one batch,
// however long it takes.
func TestGitAtWork(t *testing.T) {
	repo := t.TempDir()
	git(t, repo, "init", "-q")
	dir := filepath.Join(repo, "orders") // of a monorepo
	write(t, filepath.Join(dir, "a"), "1")
	batches := start(t, dir, watch.Options{})
	lock := filepath.Join(repo, ".git/index.lock")
	write(t, lock, "")
	first := make(chan watch.Batch, 1)
	go func() { first <- <-batches }()
	var want []string
	for i := range 40 { // four times as long as a batch is held back without git
		name := fmt.Sprintf("f%02d", i)
		want = append(want, name)
		write(t, filepath.Join(dir, name), "1")
		time.Sleep(10 * time.Millisecond)
	}
	must(t, os.Remove(lock))
	released := time.Now()
	select {
	case b := <-first:
		if !slices.Equal(b.Paths, want) {
			t.Errorf("the first batch is %q, want all %d", b.Paths, len(want))
		}
	case <-time.After(patience):
		t.Fatal("nothing is reported")
	}
	if took := time.Since(released); took > time.Second {
		t.Errorf("it came %v after the lock was gone", took)
	}
}

// TestGitThatWaits: a lock under which nothing happens, or that nobody holds any
// more, holds nothing back for long.
func TestGitThatWaits(t *testing.T) {
	for name, age := range map[string]time.Duration{"held": 0, "left behind": time.Hour} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			git(t, dir, "init", "-q")
			batches := start(t, dir, watch.Options{})
			lock := filepath.Join(dir, ".git/index.lock")
			write(t, lock, "")
			must(t, os.Chtimes(lock, time.Time{}, time.Now().Add(-age)))
			var first watch.Batch
			for i := 0; first.First.IsZero(); i++ { // some edits, one each 30 ms
				pause := 30 * time.Millisecond
				if i == 10 {
					pause = patience
				}
				write(t, filepath.Join(dir, "a"), fmt.Sprint(i))
				select {
				case first = <-batches:
				case <-time.After(pause):
					if i == 10 {
						t.Fatal("nothing is reported")
					}
				}
			}
			if held := first.Last.Sub(first.First); age > 0 && held > time.Second || held > 5*time.Second {
				t.Errorf("the batch was held back for %v", held)
			}
		})
	}
}

// TestGitLockOfTomorrow has a lock that was left behind, of a clock that is ahead:
// it holds back nobody's saves, however close they are.
func TestGitLockOfTomorrow(t *testing.T) {
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	batches := start(t, dir, watch.Options{})
	lock := filepath.Join(dir, ".git/index.lock")
	write(t, lock, "")
	must(t, os.Chtimes(lock, time.Time{}, time.Now().Add(24*time.Hour)))
	for i := 0; ; i++ {
		write(t, filepath.Join(dir, "a"), fmt.Sprint(i))
		select {
		case first := <-batches:
			if held := first.Last.Sub(first.First); held > 5*time.Second {
				t.Errorf("the batch was held back for %v", held)
			}
			return
		case <-time.After(30 * time.Millisecond):
		}
		if i == 2000 {
			t.Fatal("nothing is reported")
		}
	}
}
