package hub

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t *testing.T, dir string, limits Limits) *Hub {
	t.Helper()
	h, err := Open(dir, limits, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func TestLife(t *testing.T) {
	h := open(t, t.TempDir(), Limits{})
	for _, name := range []string{"orders", "a-b"} {
		repo, err := h.Create(name)
		if err != nil || repo.Name != name || repo.Head != "" || repo.Created.IsZero() {
			t.Fatalf("Create(%q) = %+v, %v", name, repo, err)
		}
	}
	if _, err := h.Create("orders"); !errors.Is(err, ErrExists) {
		t.Errorf("creating again: %v, want ErrExists", err)
	}
	list, err := h.List()
	if err != nil || len(list) != 2 || list[0].Name != "a-b" || list[1].Name != "orders" {
		t.Errorf("List() = %v, %v", list, err)
	}
	if err := h.Delete("orders"); err != nil {
		t.Error(err)
	}
	if err := h.Delete("orders"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleting again: %v, want ErrNotFound", err)
	}
	if _, err := h.Get("orders"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
	if _, err := h.Create("orders"); err != nil {
		t.Errorf("creating after deletion: %v", err)
	}
	if err := h.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// What Create makes is a repository to git itself, with nothing amiss.
func TestTemplateIsARepository(t *testing.T) {
	h := open(t, t.TempDir(), Limits{})
	if _, err := h.Create("orders"); err != nil {
		t.Fatal(err)
	}
	path, err := h.Path("orders")
	if err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"true":            {"rev-parse", "--is-bare-repository"},
		"refs/heads/main": {"symbolic-ref", "HEAD"},
		"0":               {"config", "gc.auto"},
		"":                {"fsck", "--strict", "--full"},
	} {
		if got, err := h.git(t.Context(), path, args...); err != nil || strings.TrimSpace(got) != want {
			t.Errorf("git %v = %q, %v, want %q", args, got, err, want)
		}
	}
}

func TestHostileNames(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(outside, "hub")
	h := open(t, dir, Limits{})
	if err := os.Mkdir(filepath.Join(outside, "victim.git"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"", ".", "..", "../victim", "..%2fvictim", "/etc", "a/b", `a\b`, "a\x00b", "a.git", ".tmp", ".trash", "-a", "A", "a b", "ä",
		strings.Repeat("a", 64),
	} {
		var bad *NameError
		_, createErr := h.Create(name)
		_, getErr := h.Get(name)
		_, headErr := h.Head(name)
		_, pathErr := h.Path(name)
		for _, err := range []error{createErr, getErr, headErr, pathErr, h.Delete(name), h.Admit(name)} {
			if !errors.As(err, &bad) {
				t.Errorf("name %q: error %v, want a NameError", name, err)
			}
		}
	}
	for path, want := range map[string][]string{outside: {"hub", "victim.git"}, dir: {".gitconfig", ".tmp", ".trash"}} {
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s holds %v, want %v", path, names, want)
		}
	}
}

func TestForeignEntriesAreNoRepositories(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, Limits{})
	if err := os.Symlink("/etc", filepath.Join(dir, "link.git")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file.git"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "file"} {
		if _, err := h.Path(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Path(%q): %v, want ErrNotFound", name, err)
		}
	}
	if list, err := h.List(); err != nil || len(list) != 0 {
		t.Errorf("List() = %v, %v, want none", list, err)
	}
}

func TestConcurrentUse(t *testing.T) {
	h := open(t, t.TempDir(), Limits{})
	var made, deleted atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 20 {
				switch _, err := h.Create("orders"); {
				case err == nil, errors.Is(err, ErrNotFound): // deleted before it could be told of
					made.Add(1)
				case !errors.Is(err, ErrExists):
					t.Errorf("Create: %v", err)
				}
				if _, err := h.List(); err != nil {
					t.Errorf("List: %v", err)
				}
				switch err := h.Delete("orders"); {
				case err == nil:
					deleted.Add(1)
				case !errors.Is(err, ErrNotFound):
					t.Errorf("Delete: %v", err)
				}
			}
		})
	}
	all.Wait()
	if made.Load() != deleted.Load() {
		t.Errorf("%d repositories were made and %d deleted", made.Load(), deleted.Load())
	}
}

func TestRepositoryLimit(t *testing.T) {
	h := open(t, t.TempDir(), Limits{Repositories: 1})
	if _, err := h.Create("a"); err != nil {
		t.Fatal(err)
	}
	_, err := h.Create("b")
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "TANAJURA_MAX_REPOSITORIES") {
		t.Errorf("Create over the limit: %v, want ErrFull that names the variable", err)
	}
}

// However many ask at once, there are no more than the limit says.
func TestRepositoryLimitAtOnce(t *testing.T) {
	const limit = 10
	h := open(t, t.TempDir(), Limits{Repositories: limit})
	var made atomic.Int32
	var all sync.WaitGroup
	for i := range 5 * limit {
		all.Go(func() {
			switch _, err := h.Create(fmt.Sprint("r", i)); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, ErrFull):
				t.Errorf("Create: %v", err)
			}
		})
	}
	all.Wait()
	if list, err := h.List(); err != nil || made.Load() != limit || len(list) != limit {
		t.Errorf("made %d, there are %d, %v, want %d", made.Load(), len(list), err, limit)
	}
}

func TestAdmit(t *testing.T) {
	h := open(t, t.TempDir(), Limits{Repository: 100_000})
	if _, err := h.Create("a"); err != nil {
		t.Fatal(err)
	}
	if err := h.Admit("a"); err != nil {
		t.Errorf("an empty repository: %v", err)
	}
	path, err := h.Path("a")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(path, "objects", "big")
	if err := os.WriteFile(file, make([]byte, 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.usageOf("a").size = 100_000 // as Pushed would have it
	h.mu.Unlock()
	if err := h.Admit("a"); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "TANAJURA_MAX_REPOSITORY") {
		t.Errorf("a full repository: %v, want ErrFull that names the variable", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := h.Admit("a"); err != nil {
		t.Errorf("a repository that shrank: %v", err)
	}
}

func TestOpenClearsAndHeals(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir, Limits{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Create("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Create("b"); err != nil {
		t.Fatal(err)
	}
	first.Close()
	left := filepath.Join(dir, tmpName, "new-1")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.git", "refs/heads/main"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	leftOver := []string{left}
	for _, name := range []string{"refs/heads/main.lock", "objects/pack/pack-1.keep"} {
		path := filepath.Join(dir, "b.git", name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		leftOver = append(leftOver, path)
	}
	h := open(t, dir, Limits{})
	for _, path := range leftOver {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s, left by an earlier process, is still there: %v", path, err)
		}
	}
	list, err := h.List()
	if err != nil || len(list) != 2 || list[0].Head != "" {
		t.Errorf("List() = %+v, %v, want both, empty", list, err)
	}
}
