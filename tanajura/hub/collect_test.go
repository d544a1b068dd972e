package hub

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// work is a repository beside the hub, which pushes by path.
type work struct {
	t    *testing.T
	dir  string
	bare string
}

func newWork(t *testing.T, h *Hub, name string) work {
	t.Helper()
	if _, err := h.Create(name); err != nil {
		t.Fatal(err)
	}
	path, err := h.Path(name)
	if err != nil {
		t.Fatal(err)
	}
	w := work{t, t.TempDir(), path}
	w.git("init", "-q", "-b", "main")
	return w
}

func (w work) git(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", w.dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// save commits bytes that cannot be packed smaller.
func (w work) save(size int) string {
	w.t.Helper()
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "data"), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "save")
	return w.git("rev-parse", "HEAD")
}

func (w work) onHub(args ...string) string {
	w.t.Helper()
	return w.git(append([]string{"--git-dir=" + w.bare}, args...)...)
}

// What a forced push leaves behind goes, but not while a Stinger may ask for it.
func TestFullCollectionDropsTheUnreachable(t *testing.T) {
	h := open(t, t.TempDir(), Limits{})
	w := newWork(t, h, "orders")
	old := w.save(1 << 20)
	w.git("push", "-q", w.bare, "main")
	w.git("checkout", "-q", "--orphan", "new")
	kept := w.save(1000)
	w.git("push", "-q", "--force", w.bare, "new:main")

	if _, err := h.collect("orders", true); err != nil {
		t.Fatal(err)
	}
	if got := w.onHub("cat-file", "-t", old); got != "commit" || diskSize(w.bare) < 1<<20 {
		t.Errorf("what was replaced just now is gone: %q", got)
	}
	if err := h.collectFully(t.Context(), w.bare, 0); err != nil {
		t.Fatal(err)
	}
	if size := diskSize(w.bare); size > 100_000 {
		t.Errorf("what was replaced is still there: %d bytes", size)
	}
	if got, err := h.Head("orders"); err != nil || got != kept {
		t.Errorf("the branch is at %q, %v, want %q", got, err, kept)
	}
	w.onHub("fsck", "--strict")
}

// History that has no room is cut, and the repository goes on as before.
func TestHistoryIsCutWhereThereIsNoRoom(t *testing.T) {
	h := open(t, t.TempDir(), Limits{Repository: 2 << 20})
	w := newWork(t, h, "orders")
	for range keepCommits * 2 {
		w.save(50_000)
	}
	w.git("push", "-q", w.bare, "main")
	if _, err := h.collect("orders", false); err != nil {
		t.Fatal(err)
	}
	if got := w.onHub("rev-list", "--count", "main"); got != fmt.Sprint(keepCommits) {
		t.Errorf("there are %s commits, want %d", got, keepCommits)
	}
	if err := h.collectFully(t.Context(), w.bare, 0); err != nil {
		t.Fatal(err)
	}
	if size := diskSize(w.bare); size > 50_000*keepCommits*11/10 {
		t.Errorf("what was cut is still there: %d bytes", size)
	}
	w.onHub("fsck", "--strict")
	head := w.save(50_000)
	w.git("push", "-q", w.bare, "main")
	if got, err := h.Head("orders"); err != nil || got != head {
		t.Errorf("after the cut a push leads to %q, %v, want %q", got, err, head)
	}
	if cut, err := h.cutHistory(t.Context(), w.bare); err != nil || !cut {
		t.Errorf("cutting again after a save: %v, %v", cut, err)
	}
	if cut, err := h.cutHistory(t.Context(), w.bare); err != nil || cut {
		t.Errorf("cutting again at once: %v, %v", cut, err)
	}
}

// A collection makes differences of what saves change, and so a hundred saves of
// a file take little more room than one.
func TestCollectionMakesDifferences(t *testing.T) {
	h := open(t, t.TempDir(), Limits{})
	w := newWork(t, h, "orders")
	noise := make([]byte, 20_000)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if err := os.WriteFile(filepath.Join(w.dir, "data"), fmt.Appendf(nil, "%x save %d", noise, i), 0o600); err != nil {
			t.Fatal(err)
		}
		w.git("add", "-A")
		w.git("commit", "-q", "-m", "save")
		w.git("push", "-q", w.bare, "main")
	}
	before := diskSize(w.bare)
	for _, full := range []bool{false, true} {
		if _, err := h.collect("orders", full); err != nil {
			t.Fatal(err)
		}
		if size := diskSize(w.bare); size > before/5 {
			t.Errorf("a collection (full: %v) leaves %d bytes of %d", full, size, before)
		}
	}
}

func TestNothingToCut(t *testing.T) {
	h := open(t, t.TempDir(), Limits{Repository: 1 << 20})
	w := newWork(t, h, "orders")
	if _, err := h.collect("orders", true); err != nil {
		t.Errorf("collecting an empty repository: %v", err)
	}
	w.save(900_000)
	w.git("push", "-q", w.bare, "main")
	if _, err := h.collect("orders", true); err != nil {
		t.Errorf("collecting one big commit: %v", err)
	}
	if got := w.onHub("rev-list", "--count", "main"); got != "1" {
		t.Errorf("there are %s commits", got)
	}
}
