package pull

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/formicarium/formicarium/stinger/gittest"
)

// TestFullDisk has a file system of its own with one page or inode more each
// time, from none to enough: each pull is carried out whole or not at all,
// wherever the space ends.
func TestFullDisk(t *testing.T) {
	const child = "PULL_TEST_FULL_DISK"
	if os.Getenv(child) == "" {
		// Mounts are a process's, not a goroutine's.
		cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
			t.Fatalf("in a mount namespace of its own: %v\n%s", err, out)
		}
		return
	}
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"inodes", "bytes"} {
		refused := 0
		for room := 0; ; room++ {
			if room > 60 {
				t.Fatalf("%s: there is never enough", kind)
			}
			if fits := pullInto(t, kind, room); fits {
				break
			}
			refused++
		}
		if refused < 5 {
			t.Errorf("%s: only %d pulls were refused", kind, refused)
		}
	}
}

// pullInto pulls a change into a file system with little room and reports
// whether it fits.
func pullInto(t *testing.T, kind string, room int) bool {
	t.Helper()
	f := newFixture(t)
	h := f.hub
	page := strings.Repeat("x", 4096)
	for _, name := range []string{"a", "b", "c/d", "gone/f", "swap/g", "swop"} {
		h.Write(name, "old"+page, 0o644)
	}
	h.Commit()
	if err := syscall.Mount("tmpfs", f.app, "tmpfs", 0, "size=1m,nr_inodes=200"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		f.p.Close()
		if err := syscall.Unmount(f.app, 0); err != nil {
			t.Error(err)
		}
	}()
	f.open()
	f.pull("")
	f.fill(kind, room)
	before := list(t, f.app)
	for _, name := range []string{"a", "c/d", "swap", "swop/h", "x/y/z", "x/w", "v/u"} {
		if name == "swap" || name == "swop/h" {
			h.Remove(strings.TrimSuffix(name, "/h"))
		}
		h.Write(name, "new"+page+page, 0o644)
	}
	h.Remove("gone")
	commit := h.Commit()
	_, err := f.p.Pull(context.Background(), commit)
	if err == nil {
		return true
	}
	if got := list(t, f.app); !slices.Equal(got, before) {
		t.Fatalf("%s, room for %d: %v; the tree is neither the old one nor the new:\n%s", kind, room, err, shortened(got))
	}
	if f.p.doing != nil {
		t.Errorf("%s, room for %d: something is left to be undone", kind, room)
	}
	if err := os.RemoveAll(filepath.Join(f.app, "fill")); err != nil {
		t.Fatal(err)
	}
	if r := f.pull(commit); r.Changed == 0 {
		t.Errorf("with room again = %+v", r)
	}
	return false
}

// fill leaves room for so many inodes, or pages.
func (f *fixture) fill(kind string, room int) {
	f.Helper()
	f.local("fill/0", "")
	var s syscall.Statfs_t
	if err := syscall.Statfs(f.app, &s); err != nil {
		f.Fatal(err)
	}
	if kind == "bytes" {
		if err := os.WriteFile(filepath.Join(f.app, "fill/0"), make([]byte, (int(s.Bavail)-room)*int(s.Bsize)), 0o644); err != nil {
			f.Fatal(err)
		}
		return
	}
	for i := 1; i <= int(s.Ffree)-room; i++ {
		f.local(fmt.Sprint("fill/", i), "")
	}
}

func shortened(lines []string) string {
	var out strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&out, "  %.30s (%d)\n", line, len(line))
	}
	return out.String()
}

// TestDirectoryThatBecomesALink has the application swap a directory for a link
// that leads outside, over and over, while pulls write and remove in it.
func TestDirectoryThatBecomesALink(t *testing.T) {
	f := newFixture(t)
	outside := filepath.Join(filepath.Dir(f.app), "outside")
	if err := os.MkdirAll(filepath.Join(outside, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "sub/b", "gone"} {
		if err := os.WriteFile(filepath.Join(outside, name), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := list(t, outside)
	f.hub.Write("dir/a", "0", 0o644)
	f.hub.Commit()
	f.pull("")
	var over atomic.Bool
	var swaps atomic.Int64
	var application sync.WaitGroup
	application.Go(func() {
		dir, aside := filepath.Join(f.app, "dir"), filepath.Join(f.app, "aside")
		for !over.Load() { // each step may fail: the pull does the same
			_ = os.Rename(dir, aside)
			if os.Symlink(outside, dir) == nil {
				swaps.Add(1)
			}
			_ = os.Remove(dir)
			_ = os.Rename(aside, dir)
		}
	})
	for i := range 40 {
		f.hub.Write("dir/a", fmt.Sprint(i), 0o755)
		f.hub.Write("dir/sub/b", fmt.Sprint(i), 0o644)
		if i%2 == 0 {
			f.hub.Write("dir/gone", fmt.Sprint(i), 0o644)
		} else {
			f.hub.Remove("dir/gone")
		}
		_, _ = f.p.Pull(context.Background(), f.hub.Commit())
	}
	over.Store(true)
	application.Wait()
	if swaps.Load() == 0 {
		t.Error("the directory was never swapped")
	}
	if got := list(t, outside); !slices.Equal(got, before) {
		t.Errorf("outside is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(before, "\n"))
	}
	// A process that comes later makes it what it should be.
	if err := os.RemoveAll(filepath.Join(f.app, "aside")); err != nil {
		t.Fatal(err)
	}
	f.open()
	if _, err := f.p.Verify(); err != nil {
		t.Fatal(err)
	}
	f.hub.Write("dir/a", "end", 0o755)
	f.pull(f.hub.Commit())
	f.wantTree("dir/", "dir/a* end", "dir/sub/", "dir/sub/b 39")
}

// TestNamesThatDifferInCase are different files, as on any Linux.
func TestNamesThatDifferInCase(t *testing.T) {
	f := newFixture(t)
	f.hub.CommitTree(f.hub.Tree(
		gittest.Entry{Mode: "100644", Name: "README", ID: f.hub.Blob("1")},
		gittest.Entry{Mode: "100644", Name: "Readme", ID: f.hub.Blob("2")}))
	f.pull("")
	f.wantTree("README 1", "Readme 2")
	r := f.pull(f.hub.CommitTree(f.hub.Tree(gittest.Entry{Mode: "100644", Name: "readme", ID: f.hub.Blob("2")})))
	f.wantTree("readme 2")
	slices.Sort(r.Paths)
	if want := []string{"README", "Readme", "readme"}; !slices.Equal(r.Paths, want) || r.Unknown {
		t.Errorf("paths %q, want %q", r.Paths, want)
	}
}

// TestPathsOfAChange are told whole, also of a directory that became a file. Of a
// file that became a directory those in it are told: what names the one names
// the others.
func TestPathsOfAChange(t *testing.T) {
	f, second, _, _ := twoTrees(t)
	r := f.pull(second)
	slices.Sort(r.Paths)
	want := []string{"a", "c/d", "gone/f", "swap", "swap/g", "swop/h", "z/y"}
	if !slices.Equal(r.Paths, want) || r.Changed != len(want) || r.Unknown {
		t.Errorf("pull = %+v, want the paths %q", r, want)
	}
	var many []gittest.Entry
	blob := f.hub.Blob("")
	for i := range maxChanges + 1 {
		many = append(many, gittest.Entry{Mode: "100644", Name: fmt.Sprintf("%05d", i), ID: blob})
	}
	f.hub.CommitTree(f.hub.Tree(gittest.Entry{Mode: "40000", Name: "many", ID: f.hub.Tree(many...)}))
	if r := f.pull(""); !r.Unknown || len(r.Paths) != 0 || r.Changed <= maxChanges {
		t.Errorf("pull of many = %d changed, %d paths, unknown %t", r.Changed, len(r.Paths), r.Unknown)
	}
}
