package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

var errInjected = errors.New("injected")

// twoTrees has a directory at a first commit and returns a second one that
// changes it in every way.
func twoTrees(t *testing.T) (f *fixture, second string, before, after []string) {
	t.Helper()
	f = newFixture(t)
	h := f.hub
	for _, name := range []string{"a", "b", "c/d", "c/e", "gone/f", "swap/g", "swop"} {
		h.Write(name, "old", 0o644)
	}
	h.Commit()
	f.pull("")
	f.local("untracked", "u")
	before = list(t, f.app)
	h.Write("a", "new", 0o644)
	h.Write("c/d", "new", 0o755)
	h.Remove("gone")
	h.Remove("swap")
	h.Write("swap", "new", 0o644)
	h.Remove("swop")
	h.Write("swop/h", "new", 0o644)
	h.Write("z/y", "new", 0o644)
	second = h.Commit()
	after = []string{"a new", "b old", "c/", "c/d* new", "c/e old", "swap new", "swop/", "swop/h new", "untracked u", "z/", "z/y new"}
	return f, second, before, after
}

// TestFailureAtAnyStepLeavesTheOldTree makes the n-th step fail, for each n,
// once and in the same process.
func TestFailureAtAnyStepLeavesTheOldTree(t *testing.T) {
	f, second, before, after := twoTrees(t)
	steps := 0
	for fail := 1; ; fail++ {
		n := 0
		f.p.fault = func(step, path string) error {
			if n++; n == fail {
				return errInjected
			}
			return nil
		}
		_, err := f.p.Pull(context.Background(), second)
		if err == nil {
			break
		}
		steps++
		if !errors.Is(err, errInjected) {
			t.Fatalf("step %d: Pull = %v", fail, err)
		}
		if f.wantTree(before...); t.Failed() {
			t.Fatalf("after a failure at step %d", fail)
		}
	}
	if steps < 10 {
		t.Errorf("only %d steps could fail", steps)
	}
	f.wantTree(after...)
}

// TestDeathAtAnyStepIsMended lets the process die at the n-th step, for each
// n: nothing after that step happens, and another process comes.
func TestDeathAtAnyStepIsMended(t *testing.T) {
	for fail := 1; ; fail++ {
		f, second, before, after := twoTrees(t)
		n := 0
		f.p.fault = func(step, path string) error {
			if n++; n == fail {
				panic(errInjected)
			}
			return nil
		}
		if died := dies(func() { f.pull(second) }); !died {
			break
		}
		f.p.mu.TryLock() // what the dead process held
		f.p.mu.Unlock()
		f.open()
		r, err := f.p.Verify()
		if err != nil {
			t.Fatalf("death at step %d: Verify = %v", fail, err)
		}
		want := after
		if r.Commit != second {
			want = before
		}
		if f.wantTree(want...); t.Failed() {
			t.Fatalf("after death at step %d", fail)
		}
		f.pull(second)
		f.wantTree(after...)
	}
}

func dies(f func()) (died bool) {
	defer func() { died = recover() != nil }()
	f()
	return false
}

// TestNoWayForwardNorBack has the way back fail, too: the next pull mends it.
func TestNoWayForwardNorBack(t *testing.T) {
	f, second, _, after := twoTrees(t)
	f.p.fault = func(step, path string) error {
		if step == "place" && path != "a" {
			return fmt.Errorf("%s: %w", path, errInjected)
		}
		return nil
	}
	if _, err := f.p.Pull(context.Background(), second); !errors.Is(err, errInjected) {
		t.Fatalf("Pull = %v, want the injected error", err)
	}
	f.p.fault = nil
	f.pull(second)
	f.wantTree(after...)
}

func TestVerifyWritesWhatWasLost(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a", "b", "c/d"} {
		f.hub.Write(name, name, 0o755)
	}
	f.hub.Link("l", "a")
	f.hub.Commit()
	if r, err := f.p.Verify(); err != nil || r.Commit != "" {
		t.Errorf("Verify before the first pull = %+v, %v", r, err)
	}
	f.pull("")
	f.open()
	if r, err := f.p.Verify(); err != nil || r.Changed != 0 || r.Commit == "" {
		t.Errorf("Verify of a whole tree = %+v, %v", r, err)
	}
	f.local("a", "changed")
	f.local("untracked", "u")
	if err := os.Chmod(filepath.Join(f.app, "b"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(f.app, "c")); err != nil {
		t.Fatal(err)
	}
	f.open()
	if r, err := f.p.Verify(); err != nil || r.Changed != 3 {
		t.Errorf("Verify = %+v, %v, want 3 changes", r, err)
	}
	f.wantTree("a* a", "b* b", "c/", "c/d* c/d", "l -> a", "untracked u")
}

// TestStoreThatLostObjects loses what a change needs: it is fetched again.
func TestStoreThatLostObjects(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("a", "1", 0o644)
	f.hub.Commit()
	f.pull("")
	if err := os.RemoveAll(filepath.Join(f.state, "git", "objects")); err != nil {
		t.Fatal(err)
	}
	f.open()
	if _, err := f.p.Verify(); err == nil {
		t.Error("Verify = nil without objects")
	}
	f.pull("")
	f.wantTree("a 1")
	f.hub.Write("a", "2", 0o644)
	f.hub.Commit()
	f.pull("")
	f.wantTree("a 2")
}

func TestStateIsForOneProcess(t *testing.T) {
	f := newFixture(t)
	if _, err := Open(Options{URL: f.hub.URL, App: f.app, State: f.state}); err == nil {
		t.Error("two pullers share a state directory")
	}
}
