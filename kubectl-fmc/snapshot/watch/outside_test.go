package watch_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/watch"
)

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// awaitRescan waits for a batch that asks to look at everything.
func awaitRescan(t *testing.T, batches <-chan watch.Batch, why string) {
	t.Helper()
	t.Log("waiting for a rescan: " + why)
	gather(t, batches)
}

// watched waits until a change of the file is reported by its name. A rescan
// that is still on its way may stand for one change, but not for all.
func watched(t *testing.T, dir string, batches <-chan watch.Batch, path string) {
	t.Helper()
	unwatched(t, dir, batches, path, "")
}

// unwatched fails the test where a change of the file unwanted is reported
// before one of path, which is made after it.
func unwatched(t *testing.T, dir string, batches <-chan watch.Batch, path, unwanted string) {
	t.Helper()
	timeout := time.After(patience)
	for i := 0; ; i++ {
		if unwanted != "" {
			write(t, filepath.Join(dir, unwanted), strconv.Itoa(i))
		}
		write(t, filepath.Join(dir, path), strconv.Itoa(i))
		select {
		case b := <-batches:
			if slices.Contains(b.Paths, unwanted) {
				t.Errorf("got %q, want nothing of %q", b.Paths, unwanted)
			}
			if slices.Contains(b.Paths, path) {
				return
			}
		case <-timeout:
			t.Fatalf("%q is not reported", path)
		}
	}
}

// TestOutsideRules: rules that stand elsewhere than in the directory count as
// soon as they change, and what they let belong is watched.
func TestOutsideRules(t *testing.T) {
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	top := t.TempDir()
	dir := filepath.Join(top, "services/orders")
	git(t, top, "init", "-q")
	write(t, filepath.Join(top, ".gitignore"), "*.log\ndist/\n")
	write(t, filepath.Join(dir, "main.go"), "")
	write(t, filepath.Join(dir, "dist/app.js"), "")
	write(t, filepath.Join(dir, "x.log"), "")
	git(t, top, "add", ".")
	batches := start(t, dir, watch.Options{})

	// A commit changes git's index, and nothing about what belongs.
	write(t, filepath.Join(dir, "more.go"), "")
	gather(t, batches, "more.go")
	git(t, top, "add", ".")
	git(t, top, "commit", "-qm", "one")
	write(t, filepath.Join(top, "README.md"), "not of this service")
	quiet(t, dir, batches)

	git(t, top, "add", "-f", "services/orders/x.log")
	awaitRescan(t, batches, "an ignored file is tracked now")
	watched(t, dir, batches, "x.log")
	git(t, top, "add", "-f", "services/orders/dist/app.js")
	awaitRescan(t, batches, "a file in an ignored directory is tracked now")
	watched(t, dir, batches, "dist/app.js")
	git(t, top, "rm", "-q", "-f", "--cached", "services/orders/x.log")
	awaitRescan(t, batches, "an ignored file is tracked no more")
	unwatched(t, dir, batches, "marker", "x.log")

	write(t, filepath.Join(top, ".gitignore"), "dist/\n")
	awaitRescan(t, batches, "the repository's own rules have changed")
	watched(t, dir, batches, "x.log")
	write(t, filepath.Join(top, "services/.fmcignore"), "*.log\n")
	awaitRescan(t, batches, "rules above the directory are new")
	unwatched(t, dir, batches, "marker", "x.log")
	must(t, os.Remove(filepath.Join(top, "services/.fmcignore")))
	awaitRescan(t, batches, "rules above the directory are gone")
	write(t, filepath.Join(top, ".git/info/exclude"), "*.log\n")
	awaitRescan(t, batches, "info/exclude has changed")
	unwatched(t, dir, batches, "marker", "x.log")
}

// TestRulesThatCannotBeRead: a directory whose rules cannot be read is watched
// once they can.
func TestRulesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "")
	batches := start(t, dir, watch.Options{Poll: 20 * time.Millisecond})
	away := filepath.Join(t.TempDir(), "new")
	write(t, filepath.Join(away, ".gitignore"), strings.Repeat("a\n", 1<<20))
	must(t, os.Rename(away, filepath.Join(dir, "new")))
	for timeout := time.After(patience); ; {
		select {
		case b := <-batches:
			if b.Notice == "" {
				continue
			}
			if !strings.Contains(b.Notice, "new/.gitignore") || strings.Contains(b.Notice, "\n") {
				t.Errorf("notice = %q, want a line that names the file", b.Notice)
			}
		case <-timeout:
			t.Fatal("nothing is said")
		}
		break
	}
	watched(t, dir, batches, "a") // the rest is watched meanwhile
	must(t, os.WriteFile(filepath.Join(dir, "new/.gitignore"), []byte("*.log\n"), 0o644))
	watched(t, dir, batches, "new/file")
}

// TestGlobalRules: so do the user's own rules.
func TestGlobalRules(t *testing.T) {
	dir, rules := t.TempDir(), filepath.Join(t.TempDir(), "rules")
	git(t, dir, "init", "-q")
	git(t, dir, "config", "core.excludesFile", rules)
	batches := start(t, dir, watch.Options{})
	write(t, rules, "*.log\n")
	awaitRescan(t, batches, "core.excludesFile is new")
	unwatched(t, dir, batches, "marker", "x.log")
}

// TestNothingOfTheOutside: what happens in the directories above, and in git's
// own, is not reported.
func TestNothingOfTheOutside(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "orders")
	git(t, top, "init", "-q")
	write(t, filepath.Join(dir, "a"), "")
	batches := start(t, dir, watch.Options{})
	write(t, filepath.Join(top, "b"), "")
	write(t, filepath.Join(top, ".git/c"), "")
	write(t, filepath.Join(dir, "marker"), "1")
	if got, rescan := gather(t, batches, "marker"); rescan || slices.ContainsFunc(got, func(p string) bool { return p != "marker" }) {
		t.Errorf("got %q, rescan %v, want the marker", got, rescan)
	}
}
