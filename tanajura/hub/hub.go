// Package hub keeps a devspace's bare repositories on disk.
//
//	h, err := hub.Open("/var/lib/tanajura", hub.Limits{}, slog.Default())
//	repo, err := h.Create("orders")
//	path, err := h.Path("orders") // /var/lib/tanajura/orders.git
//
// A repository named NAME is the directory NAME.git. Names are checked here and
// nowhere else: no path is ever made of a name that api.CheckName refuses, and
// since such a name has no dot, what the hub keeps for itself starts with one
// (.tmp, .trash, .gitconfig) and can never be reached as a repository.
//
// Every change of the set of repositories is one rename, so it is whole or it
// did not happen, whatever ends the process, and callers need no lock. What
// happens inside a repository is git's own affair, and git's own locks.
//
// How repositories are kept small is the subject of collect.go.
package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/formicarium/formicarium/internal/api"
)

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("there is no such repository")
	ErrExists   = errors.New("the repository exists already")
	// ErrFull is a limit that was reached; the message names it.
	ErrFull = errors.New("the hub is full")
)

// NameError reports a name that cannot name a repository.
type NameError struct{ err error }

func (e *NameError) Error() string { return e.err.Error() }
func (e *NameError) Unwrap() error { return e.err }

const (
	suffix    = ".git"
	tmpName   = ".tmp"
	trashName = ".trash"
)

// Hub is a directory of bare repositories. Its methods may be used
// concurrently. One process uses a directory at a time.
type Hub struct {
	dir    string
	limits Limits
	log    *slog.Logger

	ctx    context.Context // of what runs in the background
	cancel context.CancelFunc
	work   sync.WaitGroup
	slot   chan struct{} // held by the collection that runs
	making sync.Mutex    // held while a repository is made, for the limit's sake

	mu     sync.Mutex
	closed bool
	usage  map[string]*usage // by repository; guarded by mu
}

// Open returns the hub in dir, which is made if missing, and clears what an
// earlier process left half done.
func Open(dir string, limits Limits, log *slog.Logger) (*Hub, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening hub directory %q: %w", dir, err)
	}
	for _, name := range []string{tmpName, trashName} {
		path := filepath.Join(dir, name)
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("clearing %s: %w", path, err)
		}
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("opening hub directory: %w", err)
		}
	}
	limits = limits.withDefaults()
	if err := writeConfig(dir, limits); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &Hub{
		dir: dir, limits: limits, log: log,
		ctx: ctx, cancel: cancel, slot: make(chan struct{}, 1),
		usage: map[string]*usage{},
	}
	if err := h.heal(); err != nil {
		return nil, fmt.Errorf("opening hub directory: %w", err)
	}
	return h, nil
}

// heal makes repositories anew whose branch or packs cannot be read, as after a
// loss of power. They are empty then, and the next sync fills them; damaged ones would
// refuse it.
func (h *Hub) heal() error {
	names, err := h.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		// No git runs here now, so what is temporary is left over, a lock would
		// be held for ever, and a pack that a push kept would never be collected.
		path := filepath.Join(h.dir, name+suffix)
		for _, pattern := range []string{"*.lock", "refs/*/*.lock", "objects/tmp_*", "objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/pack/*.keep"} {
			left, _ := filepath.Glob(filepath.Join(path, pattern)) // the patterns are good
			for _, file := range left {
				if err := os.RemoveAll(file); err != nil {
					return err
				}
			}
		}
		_, err := h.Get(name)
		if err == nil {
			err = checkTorn(path)
		}
		if err == nil {
			continue
		}
		h.log.Warn("making a damaged repository anew", "repository", name, "error", err)
		if err := h.Delete(name); err != nil {
			return err
		}
		if _, err := h.Create(name); err != nil {
			return err
		}
	}
	return nil
}

// Close ends background work and waits for it. Requests should have ended
// before.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.work.Wait()
}

// Ready reports why the hub cannot take a push: its directory cannot be
// written to.
func (h *Hub) Ready() error {
	file, err := os.CreateTemp(filepath.Join(h.dir, tmpName), "ready-")
	if err != nil {
		return fmt.Errorf("writing to the hub's directory: %w", err)
	}
	file.Close()
	return os.Remove(file.Name())
}

// Create makes an empty repository.
func (h *Hub) Create(name string) (api.Repository, error) {
	path, err := h.place(name)
	if err != nil {
		return api.Repository{}, err
	}
	if _, err := os.Lstat(path); err == nil {
		return api.Repository{}, fmt.Errorf("creating repository %q: %w", name, ErrExists)
	}
	h.making.Lock()
	defer h.making.Unlock()
	names, err := h.names()
	if err != nil {
		return api.Repository{}, err
	}
	if len(names) >= h.limits.Repositories {
		return api.Repository{}, fmt.Errorf("creating repository %q: %w: it holds %d repositories (TANAJURA_MAX_REPOSITORIES); delete one first",
			name, ErrFull, h.limits.Repositories)
	}
	made, err := makeRepository(filepath.Join(h.dir, tmpName))
	if err != nil {
		return api.Repository{}, fmt.Errorf("creating repository %q: %w", name, err)
	}
	// The rename onto a repository that a concurrent Create put there fails,
	// since a repository is a directory that is never empty.
	if err := os.Rename(made, path); err != nil {
		os.RemoveAll(made)
		if errors.Is(err, fs.ErrExist) {
			err = ErrExists
		}
		return api.Repository{}, fmt.Errorf("creating repository %q: %w", name, err)
	}
	return h.Get(name)
}

// Get returns a repository.
func (h *Hub) Get(name string) (api.Repository, error) {
	path, err := h.Path(name)
	if err != nil {
		return api.Repository{}, err
	}
	// The configuration is written once, so its time is the repository's.
	info, err := os.Stat(filepath.Join(path, "config"))
	if err != nil {
		return api.Repository{}, notFound(name, err)
	}
	head, err := readHead(path)
	if err != nil {
		return api.Repository{}, notFound(name, err)
	}
	return api.Repository{Name: name, Head: head, Created: info.ModTime().UTC()}, nil
}

// Head returns the full id of the commit at api.HubBranch; empty if there is
// none.
func (h *Hub) Head(name string) (string, error) {
	path, err := h.Path(name)
	if err != nil {
		return "", err
	}
	return readHead(path)
}

// List returns all repositories, by name.
func (h *Hub) List() ([]api.Repository, error) {
	names, err := h.names()
	if err != nil {
		return nil, err
	}
	list := make([]api.Repository, 0, len(names))
	for _, name := range names {
		switch repo, err := h.Get(name); {
		case errors.Is(err, ErrNotFound): // deleted meanwhile
		case err != nil:
			return nil, err
		default:
			list = append(list, repo)
		}
	}
	return list, nil
}

// Delete removes a repository. A push that is under way fails or is lost with
// it.
func (h *Hub) Delete(name string) error {
	path, err := h.Path(name)
	if err != nil {
		return err
	}
	// A fresh directory for each: the same name may be deleted again before
	// the first one's files are gone.
	trash, err := os.MkdirTemp(filepath.Join(h.dir, trashName), name+"-")
	if err != nil {
		return fmt.Errorf("deleting repository %q: %w", name, err)
	}
	if err := os.Rename(path, filepath.Join(trash, name)); err != nil {
		os.Remove(trash)
		return notFound(name, err)
	}
	h.forget(name)
	if err := os.RemoveAll(trash); err != nil {
		// A push's git may still have been writing there; Open clears it.
		h.log.Warn("clearing a deleted repository", "repository", name, "error", err)
	}
	return nil
}

// Path returns the directory of an existing repository.
func (h *Hub) Path(name string) (string, error) {
	path, err := h.place(name)
	if err != nil {
		return "", err
	}
	// Lstat: a link is not a repository of this hub.
	switch info, err := os.Lstat(path); {
	case err != nil:
		return "", notFound(name, err)
	case !info.IsDir():
		return "", notFound(name, fs.ErrNotExist)
	}
	return path, nil
}

// place returns where the repository is or would be.
func (h *Hub) place(name string) (string, error) {
	if err := api.CheckName("repository", name); err != nil {
		return "", &NameError{err}
	}
	return filepath.Join(h.dir, name+suffix), nil
}

func (h *Hub) names() ([]string, error) {
	entries, err := os.ReadDir(h.dir) // sorted
	if err != nil {
		return nil, fmt.Errorf("listing repositories: %w", err)
	}
	var names []string
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), suffix)
		if ok && entry.IsDir() && api.CheckName("repository", name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

func notFound(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	return fmt.Errorf("repository %q: %w", name, err)
}
