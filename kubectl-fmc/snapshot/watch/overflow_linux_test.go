package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/ignore"
)

// TestRealOverflow: while nobody reads, more happens than the kernel keeps. The
// batch asks to look at everything, and watching goes on.
func TestRealOverflow(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := &watcher{dir: dir, watched: map[string]*ignore.Dir{}, paths: map[string]bool{}}
	w.options.complete()
	if w.source, err = fsnotify.NewWatcher(); err != nil {
		t.Fatal(err)
	}
	if err := w.restart(); err != nil {
		t.Fatal(err)
	}
	// Each is at least two events, and the source's own buffer holds 4,096.
	for i := range limit/2 + 5000 {
		path := filepath.Join(dir, fmt.Sprintf("f%06d", i))
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "late/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	out := make(chan Batch)
	ctx, cancel := context.WithCancel(context.Background())
	defer func() { cancel(); <-out }()
	go w.run(ctx, out)
	await := func(good func(Batch) bool) {
		t.Helper()
		for timeout := time.After(30 * time.Second); ; {
			select {
			case b := <-out:
				if good(b) {
					return
				}
			case <-timeout:
				t.Fatal("the batch did not come")
			}
		}
	}
	await(func(b Batch) bool { return b.Rescan })
	name := "late/sub/file"
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	await(func(b Batch) bool {
		for _, p := range b.Paths {
			if p == name {
				return true
			}
		}
		return false
	})
}
