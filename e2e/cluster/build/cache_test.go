package build

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// source makes a source folder with one small program.
func source(t *testing.T) (Cache, Program) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "hello", "go.mod"), "module hello\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "hello", "main.go"), "package main\n\nvar said = \"nothing\"\n\nfunc main() { print(said) }\n")
	c := Cache{Dir: filepath.Join(t.TempDir(), "cache"), Source: dir, Log: io.Discard}
	return c, Program{Name: "hello", Version: "v1", Packages: []string{"."}, Vars: []string{"main.said=hello"}}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFollowsEveryInput(t *testing.T) {
	c, p := source(t)
	dir := filepath.Join(c.Source, p.Name)
	key := func() string {
		t.Helper()
		k, err := c.key(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	seen := map[string]string{key(): "the first"}
	if _, again := seen[key()]; !again {
		t.Error("the key differs from one call to the next")
	}
	for _, change := range []struct {
		what string
		make func()
	}{
		{"go.mod", func() { write(t, filepath.Join(dir, "go.mod"), "module hello\n\ngo 1.25\n") }},
		{"go.sum", func() { write(t, filepath.Join(dir, "go.sum"), "\n") }},
		{"a source file", func() { write(t, filepath.Join(dir, "more.go"), "package main\n") }},
		{"the version", func() { p.Version = "v2" }},
		{"the linker's flags", func() { p.Vars = nil }},
		{"the packages", func() { p.Packages = []string{"./..."} }},
	} {
		change.make()
		if before, ok := seen[key()]; ok {
			t.Errorf("a change of %s gives the key of %s", change.what, before)
		}
		seen[key()] = change.what
	}
	last := key()
	write(t, filepath.Join(dir, "main_test.go"), "package main\n")
	if key() != last {
		t.Error("a change of a test changes the key")
	}
}

func TestBuildIsDoneOnce(t *testing.T) {
	c, p := source(t)
	if _, err := c.Find(t.Context(), p); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("finding what is not built: got %v", err)
	}
	dir, err := c.Build(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.Stat(filepath.Join(dir, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Build(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.Stat(filepath.Join(again, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(first, second) {
		t.Error("a program in the cache was built again")
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	c, p := source(t)
	write(t, filepath.Join(c.Source, p.Name, "main.go"), "package main\n\nfunc main() { missing() }\n")
	_, err := c.Build(t.Context(), p)
	if err == nil || !regexp.MustCompile(`undefined: missing`).MatchString(err.Error()) {
		t.Errorf("got %v, want the compiler's message", err)
	}
	entries, err := os.ReadDir(filepath.Join(c.Dir, "programs"))
	if err != nil || len(entries) > 0 {
		t.Errorf("left in the cache: %v (%v)", entries, err)
	}
}

// The versions that programs report are those that go.mod builds.
func TestVersionsMatchModules(t *testing.T) {
	for _, p := range Programs {
		b, err := os.ReadFile(filepath.Join("..", "programs", p.Name, "go.mod"))
		if errors.Is(err, fs.ErrNotExist) && p.Name == Pause.Name {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`(?m)^\s*(?:require )?\S+/` + p.Name + `(?:/v\d+)? (v\S+)$`).FindSubmatch(b)
		if found == nil || string(found[1]) != p.Version {
			t.Errorf("%s reports %s, its go.mod has %q", p.Name, p.Version, found)
		}
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "lock")
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("a second lock: got %v, want it to wait until its context is over", err)
	}
	// A holder may remove the folder with the lock in it.
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	unlock()
	if unlock, err = Lock(t.Context(), path); err != nil {
		t.Fatalf("locking anew: %v", err)
	}
	unlock()
}
