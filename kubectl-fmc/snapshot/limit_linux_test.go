package snapshot_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/testutil"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
)

// TestRunBeyondTheLimit: where the system allows too few watches, the sync goes on
// without them and says so once. The limit is that of a user namespace, in which
// the test runs itself again.
func TestRunBeyondTheLimit(t *testing.T) {
	const inside = "FMC_TEST_RUN_INOTIFY_LIMIT"
	if os.Getenv(inside) != "" {
		runBeyondTheLimit(t)
		return
	}
	testutil.AgainInUserNamespace(t, "TestRunBeyondTheLimit", inside+"=1")
}

func runBeyondTheLimit(t *testing.T) {
	isolate(t)
	h, dir := newHub(t), t.TempDir()
	generate(t, dir, 60)
	must(t, os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("2"), 0o644))
	var notices []string
	r := run(t, dir, h.url, func(c *snapshot.Config) {
		c.Watch.Poll = 20 * time.Millisecond
		tell := c.OnEvent
		c.OnEvent = func(e snapshot.Event) {
			if e.Kind == snapshot.Notice {
				notices = append(notices, e.Text)
			}
			tell(e)
		}
	})
	r.awaitTree()
	write(t, filepath.Join(dir, nameOf(7)), "edited")
	r.awaitTree()
	write(t, filepath.Join(dir, "new/deep/file"), "new")
	remove(t, filepath.Join(dir, nameOf(8)))
	rename(t, filepath.Join(dir, "src"), filepath.Join(dir, "lib"))
	e := r.awaitTree()
	checkHub(t, h, e.Push, e.Snapshot)
	// They come before the event that was awaited, and from its goroutine.
	if len(notices) != 1 || !strings.Contains(notices[0], "fs.inotify.max_user_watches") {
		t.Errorf("notices = %q, want one that names the sysctl", notices)
	}
}
