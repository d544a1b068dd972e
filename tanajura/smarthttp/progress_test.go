package smarthttp_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// What git does meanwhile is shown to its user, in both directions.
func TestProgress(t *testing.T) {
	for _, protocol := range []string{"0", "2"} {
		h := hubtest.New(t)
		url := h.CreateRepository("orders")
		version := "protocol.version=" + protocol
		w := newWorktree(t)
		w.fill(10, 30)
		for i := range 3 { // differences, which the hub has to resolve
			w.commit("d001/f001.txt", strings.Repeat("line\n", 40)+fmt.Sprint("more ", i))
		}
		if code, errs := w.try("-c", version, "push", "--progress", url, "main"); code != 0 || !strings.Contains(errs, "remote: Resolving deltas") {
			t.Errorf("v%s: a push shows (exit code %d):\n%s", protocol, code, errs)
		}
		clone := filepath.Join(t.TempDir(), "clone")
		if code, errs := w.try("-c", version, "clone", "--progress", url, clone); code != 0 || !strings.Contains(errs, "remote: Counting objects: 100%") {
			t.Errorf("v%s: a clone shows (exit code %d):\n%s", protocol, code, errs)
		}
	}
}

// A clone may have the commits since a time, of one branch, without what is
// not asked for.
func TestShallowSince(t *testing.T) {
	for _, protocol := range []string{"0", "2"} {
		h := hubtest.New(t)
		url := h.CreateRepository("orders")
		version := "protocol.version=" + protocol
		w := newWorktree(t)
		for year := 2001; year <= 2005; year++ {
			// --shallow-since goes by the committer's date.
			t.Setenv("GIT_COMMITTER_DATE", fmt.Sprintf("%d-06-01T00:00:00", year))
			w.commit("a.txt", fmt.Sprint(year))
		}
		w.git("push", "-q", url, "main", "main~4:refs/heads/old")
		clone := worktree{t, filepath.Join(t.TempDir(), "clone")}
		w.git("-c", version, "clone", "-q", "--shallow-since=2003-12-31", "--single-branch", "--branch=main", url, clone.dir)
		if got := clone.git("log", "--format=%s"); got != "change a.txt\nchange a.txt" {
			t.Errorf("v%s: a clone since the end of 2003 has %q", protocol, got)
		}
		if got := clone.git("branch", "-r"); strings.Contains(got, "old") {
			t.Errorf("v%s: a clone of one branch has %q", protocol, got)
		}
		clone.git("-c", version, "fetch", "-q", "--deepen=1")
		if got := clone.git("rev-list", "--count", "HEAD"); got != "3" {
			t.Errorf("v%s: deepened by one there are %s commits, want 3", protocol, got)
		}
		limited := worktree{t, filepath.Join(t.TempDir(), "limited")}
		w.git("-c", version, "clone", "-q", "--filter=tree:0", "--no-checkout", url, limited.dir)
		if got := limited.git("rev-list", "--objects", "--all", "--missing=print"); strings.Count(got, "?") < 5 {
			t.Errorf("v%s: a clone without trees has %q", protocol, got)
		}
	}
}

// Of pushes of several refs at once, each ref has its own winner, and atomic
// ones win with all or with none.
func TestConcurrentAtomicPushes(t *testing.T) {
	const clients = 5
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	base := newWorktree(t)
	base.commit("a.txt", "base\n")
	base.git("push", "-q", url, "main", "main:one", "main:two")
	var all sync.WaitGroup
	trees, codes := make([]worktree, clients), make([]int, clients)
	for i := range clients {
		trees[i] = worktree{t, filepath.Join(t.TempDir(), "clone")}
		base.git("clone", "-q", url, trees[i].dir)
		trees[i].commit(fmt.Sprintf("file%d.txt", i), "mine\n")
	}
	for i, w := range trees {
		all.Go(func() {
			var errs string
			codes[i], errs = w.try("push", "--atomic", url, "main:one", "main:two")
			if codes[i] != 0 && !strings.Contains(errs, "rejected") {
				t.Errorf("the refusal reads %q", errs)
			}
		})
	}
	all.Wait()
	refs := map[string]string{}
	for line := range strings.Lines(base.git("ls-remote", url)) {
		id, ref, _ := strings.Cut(strings.TrimSpace(line), "\t")
		refs[ref] = id
	}
	won := 0
	for i, code := range codes {
		if code == 0 {
			won++
			if head := trees[i].git("rev-parse", "HEAD"); refs["refs/heads/one"] != head || refs["refs/heads/two"] != head {
				t.Errorf("%d won, and the refs are %v, want both at %s", i, refs, head)
			}
		}
	}
	if won != 1 {
		t.Errorf("%d atomic pushes won: %v", won, refs)
	}
}

// A fetch does not look for differences between files, which takes seconds in
// a large directory; it sends those that a collection has found.
func TestFetchDoesNotCompress(t *testing.T) {
	h := hubtest.NewWithLimits(t, hub.Limits{CollectEvery: 4})
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	w.fill(10, 20)
	for i := range 8 {
		w.commit("d001/f001.txt", strings.Repeat(fmt.Sprint("line ", i, "\n"), 200))
		w.git("push", "-q", url, "main")
	}
	clone := filepath.Join(t.TempDir(), "clone")
	if code, errs := w.try("clone", "--progress", "--depth=1", url, clone); code != 0 || strings.Contains(errs, "Compressing objects") {
		t.Errorf("a clone shows (exit code %d):\n%s", code, errs)
	}
}
