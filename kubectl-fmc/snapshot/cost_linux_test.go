package snapshot_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/push"
)

// cost is what one edit takes.
type cost struct {
	reads, allocations, bytes int
}

// editCost returns the cost of edits of one file of n, with large files beside
// them.
func editCost(t *testing.T, n, large int) cost {
	dir := t.TempDir()
	generate(t, dir, n)
	for i := range large {
		path := filepath.Join(dir, "models", fmt.Sprint(i))
		write(t, path, strconv.Itoa(i))
		must(t, os.Truncate(path, 8<<20))
	}
	repo := open(t, dir)
	take(t, repo)
	var total cost
	repo.OnOpen(func(string) error { total.reads++; return nil })
	const edits = 20
	var before, after runtime.MemStats
	for i := range edits + 1 {
		write(t, filepath.Join(dir, nameOf(7)), fmt.Sprintf("edit %d", i))
		if i == 0 {
			takePaths(t, repo, nameOf(7)) // what is made once
			total.reads = 0
			continue
		}
		runtime.ReadMemStats(&before)
		takePaths(t, repo, nameOf(7))
		runtime.ReadMemStats(&after)
		total.allocations += int(after.Mallocs - before.Mallocs)
		total.bytes += int(after.TotalAlloc - before.TotalAlloc)
	}
	return cost{total.reads / edits, total.allocations / edits, total.bytes / edits}
}

// TestEditCost: an edit reads the file that changed, and takes memory as its
// directories have entries, however many files there are elsewhere.
func TestEditCost(t *testing.T) {
	isolate(t)
	small, many, large := editCost(t, 400, 0), editCost(t, 12000, 0), editCost(t, 400, 40)
	t.Logf("400 files: %+v; 12,000: %+v; 40 large ones beside 400: %+v", small, many, large)
	for _, c := range []cost{small, many, large} {
		if c.reads != 1 {
			t.Errorf("an edit reads %d files, want 1", c.reads)
		}
		// The directory above has 30 entries in place of one; each is some bytes.
		if c.allocations > small.allocations+30 || c.bytes > small.bytes+20_000 {
			t.Errorf("an edit takes %+v, and %+v in a small directory", c, small)
		}
	}
}

// TestMemoryIsFlat: a file of 100 MB goes to the hub without being held. A
// process of its own does it, whose memory nobody else shares.
func TestMemoryIsFlat(t *testing.T) {
	const inside = "FMC_TEST_LARGE_FILE"
	if url := os.Getenv(inside); url != "" {
		pushLarge(t, os.Getenv(inside+"_DIR"), url)
		return
	}
	isolate(t)
	h, dir := newHub(t), t.TempDir()
	f, err := os.Create(filepath.Join(dir, "model.bin"))
	must(t, err)
	noise, block := rand.NewChaCha8([32]byte{1}), make([]byte, 1<<20)
	for range 100 {
		noise.Read(block)
		_, err := f.Write(block)
		must(t, err)
	}
	must(t, f.Close())
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryIsFlat$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+h.url, inside+"_DIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, rest, _ := bytes.Cut(out, []byte("GROWN "))
	var kib int
	if _, err := fmt.Sscan(string(rest), &kib); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("the process grew by %d KiB", kib)
	if kib > 40<<10 {
		t.Errorf("a file of 100 MiB takes %d MiB of memory", kib>>10)
	}
	if got, want := git(t, h.repository("orders"), nil, "rev-parse", "main^{tree}"), gitTree(t, dir); got != want {
		t.Errorf("the hub has the tree %s, want %s", got, want)
	}
}

func pushLarge(t *testing.T, dir, url string) {
	before := peak(t)
	repo, err := snapshot.Open(dir, snapshot.Options{CacheDir: t.TempDir(), Service: "orders"})
	must(t, err)
	defer repo.Close()
	snap := take(t, repo)
	pushTree(t, push.New(push.Config{BaseURL: url, Name: "orders", Source: repo, Create: true}), snap)
	fmt.Println("GROWN", peak(t)-before)
}

// peak returns the most memory that this process has had, in KiB.
func peak(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kib int
	_, err = fmt.Sscan(rest, &kib)
	must(t, err)
	return kib
}
