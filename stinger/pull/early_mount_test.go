package pull

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// mount mounts a tmpfs on a directory of the service's, for as long as the test.
func (f *fixture) mount(dir, options string) {
	f.Helper()
	path := filepath.Join(f.app, dir)
	if err := os.MkdirAll(path, 0o755); err != nil {
		f.Fatal(err)
	}
	mountTmpfs(f.T, path, options)
}

// TestDirectoryThatBecomesAFileInAVolume has a large pack replace a directory that
// is on another file system than what was written early.
func TestDirectoryThatBecomesAFileInAVolume(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("vol/x/a", "a", 0o644)
	f.hub.Commit()
	f.pull("")
	f.mount("vol", "size=64m")
	f.local("vol/x/a", "a")
	f.local("vol/x/own", "o")
	f.hub.Remove("vol/x")
	f.hub.Write("vol/x", "a file", 0o644)
	want := manyFiles(f, "vol", "volume ")
	f.hub.Commit()
	f.pull("")
	f.wantTree(append(want, "vol/x a file")...)
}

// TestFullVolume has a large pack that does not fit into a volume: it is refused
// when nothing has changed yet, as everywhere.
func TestFullVolume(t *testing.T) {
	f := newFixture(t)
	f.mount("vol", "size=4m")
	random := rand.NewChaCha8([32]byte{})
	noise := func(n int) string { // no difference to another
		content := make([]byte, n)
		random.Read(content)
		return string(content)
	}
	for i := range 500 {
		f.hub.Write(fmt.Sprintf("vol/f%03d", i), noise(3000), 0o644)
	}
	f.hub.Commit()
	f.pull("")
	before := list(t, f.app)
	for i := range earlyObjects + 100 {
		f.hub.Write(fmt.Sprintf("vol/f%03d", i), noise(5000), 0o644)
	}
	f.hub.Commit()
	if _, err := f.p.Pull(context.Background(), ""); !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "mixture") {
		t.Errorf("Pull = %.300v, want that the disk is full and no more", err)
	}
	if got := list(t, f.app); !slices.Equal(got, before) {
		t.Errorf("the tree of %d lines is now one of %d, and not what it was", len(before), len(got))
	}
}

// TestReadOnlyDirectory has a service's directory that is read-only but for a
// volume in it, as in a container with a read-only root file system.
func TestReadOnlyDirectory(t *testing.T) {
	f := newFixture(t)
	f.mount("", "size=1m")
	f.mount("src", "size=64m")
	if err := syscall.Mount("", f.app, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=1m"); err != nil {
		t.Fatal(err)
	}
	f.open()
	if _, err := f.p.Verify(); err != nil {
		t.Errorf("Verify = %v, and there is nothing to be verified", err)
	}
	want := manyFiles(f, "src", "one ")
	f.hub.Commit()
	f.pull("")
	f.wantTree(want...)
}

// TestIncomingThatStays has something that cannot be removed under the name of the
// files that are written early: they are no more than an advance.
func TestIncomingThatStays(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("a", "1", 0o644)
	f.hub.Commit()
	f.pull("")
	f.mount(incoming, "size=1m")
	f.open()
	if _, err := f.p.Verify(); err != nil {
		t.Errorf("Verify = %v", err)
	}
	want := manyFiles(f, "dir", "one ")
	commit := f.hub.Commit()
	if r := f.pull(commit); r.Commit != commit {
		t.Errorf("Pull = %+v", r)
	}
	f.wantTree(append(want, "a 1", incoming+"/")...)
}

// TestIncomingThatGoes has the service remove the files that were written early.
func TestIncomingThatGoes(t *testing.T) {
	f := newFixture(t)
	want := manyFiles(f, "dir", "one ")
	f.hub.Commit()
	f.p.fault = func(step, _ string) error {
		if step == "stage" {
			return os.RemoveAll(filepath.Join(f.app, incoming))
		}
		return nil
	}
	f.pull("")
	f.wantTree(want...)
}
