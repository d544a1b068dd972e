package snapshot_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
)

// TestLargestAreTold: what makes a push large is named, the largest first, in the
// snapshot in which it changed and in no other.
func TestLargestAreTold(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	const mib = 1 << 20
	sizes := map[string]int64{"a.jar": 6 * mib, "small": mib, "models/b": 9 * mib, "models/c": 5 * mib, "d": 7 * mib, "ignored": 20 * mib}
	for name, size := range sizes {
		write(t, filepath.Join(dir, name), name)
		must(t, os.Truncate(filepath.Join(dir, name), size))
	}
	write(t, filepath.Join(dir, ".gitignore"), "ignored\n")
	repo := open(t, dir)
	want := []snapshot.LargeFile{{Path: "models/b", Size: 9 * mib}, {Path: "d", Size: 7 * mib}, {Path: "a.jar", Size: 6 * mib}}
	if got := take(t, repo).Large; !reflect.DeepEqual(got, want) {
		t.Errorf("the largest are %v, want %v", got, want)
	}
	write(t, filepath.Join(dir, "small"), "edited")
	if got := take(t, repo).Large; len(got) > 0 {
		t.Errorf("after an edit of another file the largest are %v", got)
	}
	write(t, filepath.Join(dir, "d"), strings.Repeat("d", 5*mib))
	if got, want := takePaths(t, repo, "d").Large, []snapshot.LargeFile{{Path: "d", Size: 5 * mib}}; !reflect.DeepEqual(got, want) {
		t.Errorf("after an edit of one the largest are %v, want %v", got, want)
	}
}
