package watch

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/testutil"
	"github.com/fsnotify/fsnotify"
)

// TestLimits: where the system allows no more watches, the first batch names
// the sysctl and further ones ask for a rescan at intervals. The limits are
// those of a user namespace, in which the test runs itself again.
func TestLimits(t *testing.T) {
	const inside = "FMC_TEST_INOTIFY_LIMIT"
	if limit := os.Getenv(inside); limit != "" {
		testLimit(t, limit)
		return
	}
	for _, limit := range []string{"watches", "instances"} {
		t.Run(limit, func(t *testing.T) {
			testutil.AgainInUserNamespace(t, "TestLimits", inside+"="+limit, "HOME="+t.TempDir())
		})
	}
}

func testLimit(t *testing.T, limit string) {
	dir := t.TempDir()
	for _, sub := range []string{"a", "b/c", "d"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	value := map[string]string{"watches": "2", "instances": "0"}[limit]
	if err := os.WriteFile("/proc/sys/user/max_inotify_"+limit, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	batches, err := Watch(ctx, dir, Options{Poll: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	first, second := <-batches, <-batches
	if !first.Rescan || !strings.Contains(first.Notice, "fs.inotify.max_user_"+limit) || strings.Contains(first.Notice, "\n") {
		t.Errorf("first batch = %+v, want one line that names the sysctl", first)
	}
	if !second.Rescan || second.Notice != "" {
		t.Errorf("second batch = %+v, want a rescan without a notice", second)
	}
}

// TestOverflow: where the system drops events, everything is looked at, and a
// directory whose renaming was among them is watched under its new name.
func TestOverflow(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := &watcher{dir: dir, paths: map[string]bool{"a": true}}
	w.options.complete()
	var err error
	if w.source, err = fsnotify.NewWatcher(); err != nil {
		t.Fatal(err)
	}
	defer w.source.Close()
	if err := w.restart(); err != nil {
		t.Fatal(err)
	}
	// Nobody takes the events of this.
	if err := os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	w.fault(fsnotify.ErrEventOverflow)
	if b := w.batch(); !b.Rescan || b.Notice != "" || len(b.Paths) != 0 {
		t.Errorf("batch = %+v, want a rescan", b)
	}
	inside := filepath.Join(dir, "new/file")
	if err := os.WriteFile(inside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for timeout := time.After(20 * time.Second); ; {
		select {
		case e := <-w.source.Events:
			if e.Name == inside {
				return
			}
		case <-timeout:
			t.Fatal("the renamed directory is not watched")
		}
	}
}
