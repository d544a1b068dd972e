package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/ignore"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

// Options of Open.
type Options struct {
	// CacheDir holds what a Repo remembers from run to run, one folder for each
	// directory, hub and service. It defaults to formicarium/snapshots in the
	// user's cache directory ($XDG_CACHE_HOME on Linux).
	CacheDir string
	// Hub says which hub the directory is pushed to: anything that is the same
	// from run to run and differs from hub to hub.
	Hub string
	// Service is the service's name; commit messages start with it.
	Service string
}

// Repo makes snapshots of one directory. It is for concurrent use, though one
// snapshot is made at a time.
type Repo struct {
	dir     string // absolute, without symbolic links
	cache   string
	service string
	store   *object.Store
	reader  *reader // for one file at a time

	mu     sync.Mutex
	root   *directory
	loaded bool // root is what an earlier run left, not yet compared with the disk
	stale  bool // the last scan failed: the next one looks at everything
	last   Snapshot
	head   head
	grown  int64 // the store's size when it was last compacted
	warned bool  // of core.autoCRLF
}

// Snapshot is the directory at one moment.
type Snapshot struct {
	// Commit has the last commit that a hub acknowledged as its parent. It may
	// be replaced by one with another parent when it is pushed.
	Commit object.ID
	Tree   object.ID
	Files  int
	Bytes  int64 // of all files, as they are on disk
	// Changed counts the files that were added, removed or differ since the
	// snapshot before; Paths names the first of them.
	Changed int
	Paths   []string
	// Large are the largest of the files that were added or differ, where they are
	// large enough to be told of, the largest first.
	Large []LargeFile
	// Skipped lists what was met and cannot be part of a snapshot.
	Skipped []Skipped
	// Notes are lines for the user, each in one snapshot only.
	Notes []string
	Took  time.Duration

	message string
	at      time.Time
}

// Skipped is something that cannot be part of a snapshot.
type Skipped struct {
	Path   string
	Reason string
}

func (s Skipped) String() string { return fmt.Sprintf("%q: %s", s.Path, s.Reason) }

// Open prepares to make snapshots of the directory dir.
func Open(dir string, o Options) (*Repo, error) {
	abs, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	base := o.CacheDir
	if base == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("finding the cache directory: %w", err)
		}
		base = filepath.Join(user, "formicarium", "snapshots")
	}
	key := sha256.Sum256([]byte(abs + "\x00" + o.Hub + "\x00" + o.Service))
	cache := filepath.Join(base, hex.EncodeToString(key[:12]))
	store, err := object.OpenStore(cache)
	if err != nil {
		return nil, err
	}
	// resolve sees the directory only now that it is there.
	if cache, err = resolve(cache); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	r := &Repo{dir: abs, cache: cache, service: o.Service, store: store, reader: newReader(store, disk{openFile, os.Lstat}), grown: store.Size()}
	r.root, r.loaded = readIndex(filepath.Join(cache, indexName))
	if !r.loaded {
		r.root = &directory{}
	}
	r.head = readHead(filepath.Join(cache, headName))
	return r, nil
}

// resolve returns dir as an absolute path without symbolic links. It is done
// once, so that a change of the working directory changes nothing.
func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("opening directory %q: %w", dir, err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return "", fmt.Errorf("opening directory %q: %w", dir, err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("opening directory %q: it is a file; name the directory that it is in", dir)
	}
	return abs, nil
}

// Dir returns the directory, absolute and without symbolic links.
func (r *Repo) Dir() string { return r.dir }

// CacheDir returns where the Repo keeps its own files.
func (r *Repo) CacheDir() string { return r.cache }

// Ignore returns the options with which package ignore judges the directory.
func (r *Repo) Ignore() ignore.Options {
	return ignore.Options{Never: []string{r.cache}}
}

// Close saves what the next run needs to be fast.
func (r *Repo) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var saved error
	if !r.loaded && !r.stale {
		saved = r.saveIndex()
	}
	return errors.Join(saved, r.store.Close())
}

// Reset forgets all that is cached, for when it turns out to be damaged. The
// next Take reads every file.
func (r *Repo) Reset() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.store.Close()
	for _, pattern := range []string{"*" + object.Suffix, indexName, headName} {
		names, _ := filepath.Glob(filepath.Join(r.cache, pattern))
		for _, name := range names {
			err = errors.Join(err, os.Remove(name))
		}
	}
	store, openErr := object.OpenStore(r.cache)
	if err = errors.Join(err, openErr); err != nil {
		return fmt.Errorf("resetting the snapshot cache %q: %w", r.cache, err)
	}
	r.store, r.reader, r.root, r.head, r.last = store, newReader(store, r.reader.disk), &directory{}, head{}, Snapshot{}
	r.loaded, r.stale, r.grown = false, false, 0
	return nil
}
