package pull

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/formicarium/formicarium/stinger/gittest"
)

// smallDisk mounts a disk of 2 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mountTmpfs(t, dir, "size=2m")
	return dir
}

// mountTmpfs mounts a disk in memory until the test ends.
func mountTmpfs(t *testing.T, dir, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mounting a disk on %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
}

// TestFullDiskRecovers: what does not fit is refused with the disk's size, the old tree
// stays whole, and what fits is taken again, on the directory's own disk and on
// that of the state.
func TestFullDiskRecovers(t *testing.T) {
	for _, full := range []string{"app", "state"} {
		t.Run(full, func(t *testing.T) {
			dir := t.TempDir()
			f := &fixture{T: t, hub: gittest.New(t), app: filepath.Join(dir, "app"), state: filepath.Join(dir, "state")}
			disk := smallDisk(t)
			if full == "app" {
				f.app = disk
			} else {
				f.state = disk
			}
			f.open()
			t.Cleanup(func() { f.p.Close() })
			f.hub.Write("a", "old", 0o644)
			f.hub.Write("dir/b", "old", 0o644)
			f.hub.Commit()
			f.pull("")

			large := make([]byte, 3<<20)
			rand.Read(large)
			f.hub.Write("a", "new", 0o644)
			f.hub.Write("large", string(large), 0o644)
			f.hub.Remove("dir/b")
			f.hub.Commit()
			for range 2 { // it is tried again and again
				_, err := f.p.Pull(context.Background(), "")
				if err == nil || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), disk+" has 2.0 MiB in all") {
					t.Fatalf("Pull = %v, want that the disk is full and how large it is", err)
				}
				f.wantTree("a old", "dir/", "dir/b old")
			}
			f.hub.Remove("large")
			last := f.hub.Commit()
			if r := f.pull(""); r.Commit != last {
				t.Errorf("Pull = %+v, want %s", r, last)
			}
			f.wantTree("a new")
		})
	}
}
