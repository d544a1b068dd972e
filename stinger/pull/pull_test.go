package pull

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/stinger/gittest"
)

func TestPullFollowsEveryKindOfChange(t *testing.T) {
	f := newFixture(t)
	h := f.hub
	h.Write("a", "1", 0o644)
	h.Write("dir/b", "2", 0o755)
	h.Write("dir/deep/c", "3", 0o644)
	h.Write("empty", "", 0o644)
	h.Write("odd name\n\xff", "4", 0o644)
	h.Link("dir/link", "../a")
	first := h.Commit()
	if r := f.pull(""); r.Commit != first || r.Changed != 6 || r.Tree == "" {
		t.Errorf("first pull = %+v, want commit %s and 6 changes", r, first)
	}
	f.wantTree("a 1", "dir/", "dir/b* 2", "dir/deep/", "dir/deep/c 3", "empty ", "odd name\n\xff 4", "dir/link -> ../a")

	f.local("dir/deep/build.o", "o")
	f.local("node_modules/x", "x")
	h.Write("a", "11", 0o644)                   // modified
	h.Write("dir/b", "2", 0o644)                // mode
	h.Remove("dir/deep")                        // deleted, something untracked stays
	h.Remove("odd name\n\xff")                  // renamed
	h.Write("other/name", "4", 0o644)           //
	h.Link("dir/link", "b")                     // another target
	h.Write("node_modules/tracked", "t", 0o644) // beside untracked files
	h.Write("New", "n", 0o644)                  // added
	second := h.Commit()
	if r := f.pull(second); r.Commit != second || r.Changed != 8 {
		t.Errorf("second pull = %+v, want commit %s and 8 changes", r, second)
	}
	f.wantTree("a 11", "dir/", "dir/b 2", "dir/deep/", "dir/deep/build.o o", "empty ", "other/", "other/name 4",
		"dir/link -> b", "node_modules/", "node_modules/x x", "node_modules/tracked t", "New n")

	h.Remove("other")
	h.Remove("New")
	h.Write("new", "n", 0o644) // only the case is different
	h.Remove("dir")
	h.Write("dir", "now a file", 0o644)
	h.Remove("empty")
	h.Write("empty/dir/file", "e", 0o644)
	h.Commit()
	f.pull("")
	f.wantTree("a 11", "dir now a file", "empty/", "empty/dir/", "empty/dir/file e", "new n",
		"node_modules/", "node_modules/x x", "node_modules/tracked t")

	// Back to an earlier commit, as a branch switch does.
	if r := f.pull(first); r.Commit != first {
		t.Errorf("pull of the first commit = %+v", r)
	}
	f.wantTree("a 1", "dir/", "dir/b* 2", "dir/deep/", "dir/deep/c 3", "empty ", "odd name\n\xff 4", "dir/link -> ../a",
		"node_modules/", "node_modules/x x")
}

func TestPullWithoutChangeAsksNobody(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("a", "1", 0o644)
	c := f.hub.Commit()
	f.pull(c)
	f.hub.Requests()
	if r := f.pull(c); r.Changed != 0 || r.Commit != c {
		t.Errorf("second pull = %+v, want no change", r)
	}
	if n := len(f.hub.Requests()); n != 0 {
		t.Errorf("the hub was asked %d times for a commit that is here", n)
	}
	again := f.hub.Commit() // another commit, the same tree
	if r := f.pull(again); r.Changed != 0 || r.Commit != again || f.p.Applied().Commit != again {
		t.Errorf("pull of an equal tree = %+v", r)
	}
}

func TestNothingPushed(t *testing.T) {
	f := newFixture(t)
	if _, err := f.p.Pull(context.Background(), ""); !errors.Is(err, ErrNothingPushed) {
		t.Errorf("Pull = %v, want ErrNothingPushed", err)
	}
	f.hub.Down(true)
	if _, err := f.p.Pull(context.Background(), ""); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("Pull = %v, want an error with 503", err)
	}
}

func TestFetchBringsOnlyWhatIsNew(t *testing.T) {
	f := newFixture(t)
	noise := make([]byte, 1000)
	for i := range 500 {
		rand.Read(noise)
		f.hub.Write(fmt.Sprintf("d%d/f%d", i%20, i), string(noise), 0o644)
	}
	f.hub.Commit()
	f.pull("")
	f.hub.Requests()
	f.hub.Write("d1/f1", "a skipped save", 0o644)
	f.hub.Commit()
	rand.Read(noise)
	f.hub.Write("d2/f2", string(noise), 0o644)
	if r := f.pull(f.hub.Commit()); r.Changed != 2 {
		t.Errorf("pull = %+v, want 2 changes", r)
	}
	requests := f.hub.Requests()
	if len(requests) != 1 || requests[0].Bytes > 4000 {
		t.Errorf("the hub answered %+v, want one answer below 4000 bytes", requests)
	}
}

// TestOlderCommitIsADifference goes back to a commit whose objects are no more
// here, from one in whose history they are: what the hub takes for granted.
func TestOlderCommitIsADifference(t *testing.T) {
	f := newFixture(t)
	noise := make([]byte, 1000)
	for i := range 100 {
		rand.Read(noise)
		f.hub.Write(fmt.Sprintf("f%d", i), string(noise), 0o644)
	}
	f.hub.Commit()
	f.hub.Write("a", "older", 0o644)
	older := f.hub.Commit()
	f.hub.Write("a", "newer", 0o644)
	f.hub.Commit()
	f.pull("")
	f.hub.Requests()
	if r := f.pull(older); r.Commit != older || r.Changed != 1 {
		t.Errorf("pull = %+v, want 1 change", r)
	}
	sent := 0
	for _, request := range f.hub.Requests() {
		sent += request.Bytes
	}
	if sent > 4000 {
		t.Errorf("the hub sent %d bytes for one file", sent)
	}
	if got, _ := os.ReadFile(filepath.Join(f.app, "a")); string(got) != "older" {
		t.Errorf("a is %q", got)
	}
}

// TestQuickSavesDiffer: of two saves within a second, of the same size, Python
// runs the second.
func TestQuickSavesDiffer(t *testing.T) {
	f := newFixture(t)
	for i := range 10 {
		want := fmt.Sprintf("version %d\n", i)
		f.hub.Write("version.py", fmt.Sprintf("text = %q\n", strings.TrimSpace(want)), 0o644)
		f.pull(f.hub.Commit())
		cmd := exec.Command("python3", "-c", "import version; print(version.text)")
		cmd.Dir, cmd.Env = f.app, []string{"PATH=" + os.Getenv("PATH")} // and none of Python's own
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Fatalf("python says %q (%v), want %q", out, err, want)
		}
	}
}

func TestHubThatLostAndHubThatReplacedItsHistory(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("a", "1", 0o644)
	f.hub.Write("b", "1", 0o644)
	lost := f.hub.Commit()
	f.pull(lost)
	// The commit we have is none that the hub knows.
	f.hub.Git("update-ref", "-d", "refs/heads/main")
	f.hub.Write("a", "2", 0o644)
	c := f.hub.Commit()
	f.hub.Git("reflog", "expire", "--expire=now", "--all")
	f.hub.Git("gc", "-q", "--prune=now")
	if r := f.pull(c); r.Changed != 1 {
		t.Errorf("pull after the hub was filled anew = %+v, want 1 change", r)
	}
	f.wantTree("a 2", "b 1")
	packs, _ := filepath.Glob(filepath.Join(f.state, "git/objects/pack/*.pack"))
	if len(packs) != 1 {
		t.Errorf("%d packs are kept, want 1: %v", len(packs), packs)
	}
	// What we were told of is no more: the tip is what runs then.
	if r := f.pull(lost); r.Commit != c {
		t.Errorf("pull of a lost commit = %+v, want the tip %s", r, c)
	}
	f.hub.Write("b", "3", 0o644)
	f.hub.Commit()
	f.pull("")
	f.wantTree("a 2", "b 3")
}

func TestLocalObstaclesGiveWay(t *testing.T) {
	f := newFixture(t)
	outside := t.TempDir()
	f.local("file/is/a/dir", "x")  // the tree has a file there
	f.local("dir", "is a file")    // the tree has a directory there
	f.local("same", "other words") // untracked, replaced
	f.local("kept", "k")
	for name, target := range map[string]string{"linkdir": outside, "linkfile": filepath.Join(outside, "f"), "inner": "kept-dir"} {
		if err := os.Symlink(target, filepath.Join(f.app, name)); err != nil {
			t.Fatal(err)
		}
	}
	f.local("kept-dir/x", "untouched")
	h := f.hub
	h.Write("file", "1", 0o644)
	h.Write("dir/f", "2", 0o644)
	h.Write("same", "3", 0o644)
	h.Write("linkdir/f", "4", 0o644)
	h.Write("linkfile", "5", 0o644)
	h.Write("inner/x", "6", 0o644)
	h.Commit()
	f.pull("")
	want := []string{"file 1", "dir/", "dir/f 2", "same 3", "kept k", "linkdir/", "linkdir/f 4", "linkfile 5",
		"inner/", "inner/x 6", "kept-dir/", "kept-dir/x untouched"}
	f.wantTree(want...)
	if got := list(t, outside); len(got) != 0 {
		t.Errorf("written through a link: %v", got)
	}
	// A removal does not follow a link either.
	if err := os.RemoveAll(filepath.Join(f.app, "inner")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("kept-dir", filepath.Join(f.app, "inner")); err != nil {
		t.Fatal(err)
	}
	h.Remove("inner")
	h.Commit()
	f.pull("")
	if _, err := os.Stat(filepath.Join(f.app, "kept-dir/x")); err != nil {
		t.Errorf("a removal went through a link: %v", err)
	}
}

func TestLargeFileAndManyPathLevels(t *testing.T) {
	f := newFixture(t)
	large := make([]byte, 6<<20)
	rand.Read(large)
	deep := strings.Repeat("level/", 200) + "file"
	f.hub.Write("large.bin", string(large), 0o644)
	f.hub.Write(deep, "d", 0o644)
	f.hub.Commit()
	f.pull("")
	f.hub.Write("large.bin", "x"+string(large), 0o644)
	f.hub.Write("other.bin", string(large[:3<<20]), 0o644)
	f.hub.Commit()
	f.pull("")
	got, err := os.ReadFile(filepath.Join(f.app, "large.bin"))
	if err != nil || string(got) != "x"+string(large) {
		t.Errorf("large.bin has %d bytes and is not what was pushed (%v)", len(got), err)
	}
	if got, err := os.ReadFile(filepath.Join(f.app, deep)); err != nil || string(got) != "d" {
		t.Errorf("the file 200 levels down is %q (%v)", got, err)
	}
	f.hub.Remove("level")
	f.hub.Commit()
	f.pull("")
	if _, err := os.Lstat(filepath.Join(f.app, "level")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("emptied directories stay: %v", err)
	}
}

func TestSubmoduleIsLeftOut(t *testing.T) {
	f := newFixture(t)
	blob := f.hub.Blob("1")
	f.hub.CommitTree(f.hub.Tree(
		gittest.Entry{Mode: "100644", Name: "a", ID: blob},
		gittest.Entry{Mode: "160000", Name: "sub", ID: strings.Repeat("12", 20)}))
	f.pull("")
	f.wantTree("a 1")
}

func TestCollectKeepsWhatIsNeeded(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("a", "0", 0o644)
	f.hub.Write("b", "0", 0o644)
	f.hub.Commit()
	f.pull("")
	for i := range 10 {
		f.hub.Write("a", fmt.Sprint("save ", i), 0o644)
		f.hub.Commit()
		f.pull("")
	}
	s := f.p.store
	removed, err := s.collect(f.p.Applied().At.Add(1e9))
	if err != nil || removed < 20 {
		t.Errorf("collect = %d, %v, want at least 20 objects removed", removed, err)
	}
	// All that is left must do for what comes.
	f.open()
	if err := os.RemoveAll(f.app); err != nil {
		t.Fatal(err)
	}
	f.open()
	if r, err := f.p.Verify(); err != nil || r.Changed != 2 {
		t.Errorf("Verify = %+v, %v, want 2 files written", r, err)
	}
	f.hub.Write("a", "save 3", 0o644) // one that was removed
	f.hub.Commit()
	f.pull("")
	f.wantTree("a save 3", "b 0")
}

// TestHubComesBack pulls while nobody listens at the hub's address: the pull
// goes through when somebody does.
func TestHubComesBack(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("a", "1", 0o644)
	f.hub.Commit()
	f.pull("")
	f.hub.Write("a", "2", 0o644)
	commit := f.hub.Commit()
	back := f.hub.Unplug()
	pulled := make(chan error, 1)
	go func() {
		_, err := f.p.Pull(t.Context(), commit)
		pulled <- err
	}()
	time.Sleep(100 * time.Millisecond) // some tries are to fail
	back()
	if err := <-pulled; err != nil {
		t.Fatalf("pulling while the hub comes back: %v", err)
	}
	if got := f.p.Applied().Commit; got != commit {
		t.Errorf("the hub's commit is %s, applied is %s", commit, got)
	}
}

// TestLargeChanges pulls changes of more files than are kept one a file: their
// packs are kept, a bounded number of them, and nothing is missing afterwards.
func TestLargeChanges(t *testing.T) {
	f := newFixture(t)
	h := f.hub
	h.Write("stays", "as it is", 0o644)
	h.Commit()
	f.pull("")
	var want []string
	for round := range morePacks + 2 {
		want = []string{"d/", "stays as it is"}
		for i := range looseObjects + 1 {
			path, text := fmt.Sprintf("d/f%d", i), fmt.Sprintf("round %d, file %d", round, i)
			h.Write(path, text, 0o644)
			want = append(want, path+" "+text)
		}
		commit := h.Commit()
		if round == 1 {
			f.open() // what another process has to find
		}
		if r := f.pull(commit); r.Changed != looseObjects+1 {
			t.Errorf("round %d changed %d files, want %d", round, r.Changed, looseObjects+1)
		}
		packs, err := filepath.Glob(filepath.Join(f.state, "git/objects/pack/*.pack"))
		if err != nil || len(packs) == 0 || len(packs) > morePacks+1 {
			t.Fatalf("after round %d there are %d packs, %v; want 1 to %d", round, len(packs), err, morePacks+1)
		}
	}
	f.wantTree(want...)
}
