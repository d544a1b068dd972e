package watch_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/watch"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start watches dir until the test ends.
func start(t *testing.T, dir string, o watch.Options) <-chan watch.Batch {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	ctx, cancel := context.WithCancel(context.Background())
	batches, err := watch.Watch(ctx, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		for range batches { // it ends with the context
		}
	})
	return batches
}

// patience bounds how long a test waits for what must come.
const patience = 20 * time.Second

// covers reports whether the paths name one or a directory above it, which
// stands for all that is below.
func covers(paths []string, path string) bool {
	for ; path != "."; path = filepath.Dir(path) {
		if slices.Contains(paths, path) {
			return true
		}
	}
	return false
}

// gather receives batches until they cover all of want (and maybe more), and
// returns all that they named.
func gather(t *testing.T, batches <-chan watch.Batch, want ...string) (got []string, rescan bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		missing := slices.ContainsFunc(want, func(path string) bool { return !covers(got, path) })
		if !missing && (len(want) > 0 || rescan) {
			return got, rescan
		}
		select {
		case b := <-batches:
			got, rescan = append(got, b.Paths...), rescan || b.Rescan
		case <-timeout:
			t.Fatalf("got %q (rescan %v), want %q", got, rescan, want)
		}
	}
}

// quiet fails the test where a batch names one of the paths before the marker
// file is reported, which is written now.
func quiet(t *testing.T, dir string, batches <-chan watch.Batch, unwanted ...string) {
	t.Helper()
	write(t, filepath.Join(dir, "marker"), time.Now().String())
	got, rescan := gather(t, batches, "marker")
	for _, path := range got {
		if slices.ContainsFunc(unwanted, func(u string) bool { return strings.HasPrefix(path, u) }) || rescan {
			t.Errorf("got %q (rescan %v), want nothing of %q", got, rescan, unwanted)
		}
	}
}

func TestChanges(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "1")
	write(t, filepath.Join(dir, "sub/deep/b"), "1")
	batches := start(t, dir, watch.Options{})
	write(t, filepath.Join(dir, "a"), "2")
	gather(t, batches, "a")
	write(t, filepath.Join(dir, "sub/deep/b"), "2")
	gather(t, batches, "sub/deep/b")
	must(t, os.Remove(filepath.Join(dir, "a")))
	gather(t, batches, "a")
	must(t, os.Chmod(filepath.Join(dir, "sub/deep/b"), 0o755))
	gather(t, batches, "sub/deep/b")
	must(t, os.Symlink("b", filepath.Join(dir, "sub/deep/link")))
	gather(t, batches, "sub/deep/link")
	must(t, os.Remove(filepath.Join(dir, "sub/deep/b")))
	write(t, filepath.Join(dir, "sub/deep/b"), "again")
	gather(t, batches, "sub/deep/b")
}

// TestNewDirectories: what is made in a new directory before it is watched is
// not lost, since the directory itself is reported after the watch began.
func TestNewDirectories(t *testing.T) {
	dir := t.TempDir()
	batches := start(t, dir, watch.Options{})
	for i := range 20 {
		top := fmt.Sprintf("new%d", i)
		write(t, filepath.Join(dir, top, "x/y/z/first"), "1")
		gather(t, batches, top)
		write(t, filepath.Join(dir, top, "x/y/z/second"), "1")
		gather(t, batches, top+"/x/y/z/second")
	}
}

// TestRenamedDirectory: it is watched under its new name, and under that only.
func TestRenamedDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "old/sub/a"), "1")
	batches := start(t, dir, watch.Options{})
	must(t, os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "new")))
	gather(t, batches, "old", "new")
	write(t, filepath.Join(dir, "new/sub/a"), "2")
	if got, _ := gather(t, batches, "new/sub/a"); slices.Contains(got, "old/sub/a") {
		t.Errorf("got %q: the old name is still watched", got)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "new")))
	gather(t, batches, "new")
	write(t, filepath.Join(dir, "new/sub/a"), "3")
	gather(t, batches, "new")
	write(t, filepath.Join(dir, "new/sub/a"), "4")
	gather(t, batches, "new/sub/a")
}

func TestIgnored(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, ".gitignore"), "*.log\nnode_modules/\n/gen/\n")
	write(t, filepath.Join(dir, ".fmcignore"), "!/gen/keep/\n")
	for _, name := range []string{"node_modules/a/b", "gen/keep/a", "gen/other/a"} {
		write(t, filepath.Join(dir, name), "1")
	}
	batches := start(t, dir, watch.Options{})
	write(t, filepath.Join(dir, "x.log"), "1")
	write(t, filepath.Join(dir, "node_modules/a/b"), "2")
	write(t, filepath.Join(dir, "node_modules/c/d"), "2")
	write(t, filepath.Join(dir, "gen/other/a"), "2")
	must(t, os.Remove(filepath.Join(dir, "x.log")))
	quiet(t, dir, batches, "x.log", "node_modules", "gen/other")
	write(t, filepath.Join(dir, "gen/keep/a"), "2")
	gather(t, batches, "gen/keep/a")
	// New rules: everything is to be looked at, and the right things watched.
	write(t, filepath.Join(dir, ".gitignore"), "*.log\n")
	if _, rescan := gather(t, batches); !rescan {
		t.Error("no rescan after a change of the rules")
	}
	write(t, filepath.Join(dir, "node_modules/a/b"), "3")
	gather(t, batches, "node_modules/a/b")
}

// TestSavePatterns: each way in which editors save gives one batch.
func TestSavePatterns(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "main.go")
	write(t, path, "package main\n")
	for name, save := range map[string]func(content string){
		"truncate and write": func(content string) { write(t, path, content) },
		"rename over": func(content string) {
			write(t, path+".tmp", content)
			must(t, os.Rename(path+".tmp", path))
		},
		"backup, then new file": func(content string) {
			must(t, os.Rename(path, path+"~"))
			write(t, path, content)
			must(t, os.Chmod(path, 0o644))
			must(t, os.Remove(path+"~"))
		},
		"swap file and probe": func(content string) {
			write(t, filepath.Join(dir, ".main.go.swp"), "swap")
			write(t, filepath.Join(dir, "4913"), "")
			must(t, os.Remove(filepath.Join(dir, "4913")))
			write(t, path, content)
			must(t, os.Remove(filepath.Join(dir, ".main.go.swp")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			// Long enough for the slowest machine to finish a save in.
			batches := start(t, dir, watch.Options{Quiet: 500 * time.Millisecond, Hold: time.Minute})
			save("package main // " + name + "\n")
			select {
			case b := <-batches:
				if !slices.Contains(b.Paths, "main.go") || b.Rescan {
					t.Errorf("batch = %+v", b)
				}
				for _, p := range b.Paths {
					if strings.HasSuffix(p, "~") || strings.HasSuffix(p, ".swp") {
						t.Errorf("batch names %q, an editor's own file", p)
					}
				}
			case <-time.After(patience):
				t.Fatal("no batch")
			}
			select {
			case b := <-batches:
				t.Errorf("a second batch: %+v", b)
			case <-time.After(600 * time.Millisecond):
			}
		})
	}
}

// TestBusyReceiver: changes while nobody receives come in one batch, none
// lost.
func TestBusyReceiver(t *testing.T) {
	dir := t.TempDir()
	batches := start(t, dir, watch.Options{})
	want := map[string]bool{}
	for i := range 500 {
		name := fmt.Sprintf("f%03d", i)
		want[name] = true
		write(t, filepath.Join(dir, name), "1")
	}
	time.Sleep(300 * time.Millisecond)
	for len(want) > 0 {
		select {
		case b := <-batches:
			for _, p := range b.Paths {
				delete(want, p)
			}
		case <-time.After(patience):
			t.Fatalf("%d changes are lost", len(want))
		}
	}
}

// TestConstantWrites: a file that never holds still is reported all the same.
func TestConstantWrites(t *testing.T) {
	dir := t.TempDir()
	batches := start(t, dir, watch.Options{Quiet: time.Hour, Hold: 50 * time.Millisecond})
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	f, err := os.Create(filepath.Join(dir, "busy"))
	must(t, err)
	go func() {
		defer f.Close()
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				f.WriteString("x")
			}
		}
	}()
	gather(t, batches, "busy")
	gather(t, batches, "busy")
}

// TestLostDirectory: the directory itself goes and comes back.
func TestLostDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "service")
	write(t, filepath.Join(dir, "a"), "1")
	batches := start(t, dir, watch.Options{Poll: 20 * time.Millisecond})
	must(t, os.Rename(dir, dir+"-away"))
	gather(t, batches)
	must(t, os.Rename(dir+"-away", dir))
	timeout := time.After(patience)
	for {
		write(t, filepath.Join(dir, "a"), time.Now().String())
		select {
		case b := <-batches:
			if slices.Contains(b.Paths, "a") {
				return
			}
		case <-timeout:
			t.Fatal("it is not watched again")
		}
	}
}
