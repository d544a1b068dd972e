package pull

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	// cacheSize bounds the objects kept in memory: the trees on the way to a
	// changed file, not the files.
	cacheSize = 4 * cache.MiByte
	// inMemory is the size up to which a file's content is read into memory
	// to be written; larger ones are copied through.
	inMemory = 1 << 20
	// maxTree bounds a tree, or commit, which is read into memory: maxPaths names
	// of 100 bytes in one directory. Zeros are a thousandth of that in a pack.
	maxTree = 64 << 20
	// looseObjects is the most objects that a fetch on top of another may bring
	// to be kept one a file; what brings more stays the pack that it is. A file
	// costs 0.1 ms, or ten times that on a slow disk, and one save is some 5.
	looseObjects = 200
	// earlyObjects is from how many objects on the files of a pack are written
	// while it comes; it then costs as much as it saves with a large tree.
	earlyObjects = 1000
	// morePacks is how many packs are kept beside the first; the next such
	// fetch is a new start, which leaves one and costs what the first did. A pack
	// costs every look for an object some 0.2 µs.
	morePacks = 64
)

// emptyTree is the id of the tree without entries, which nobody needs to send.
var emptyTree = plumbing.NewHash("4b825dc642cb6eb9a060e54bf8d69288fbee4904")

// store keeps the objects of the commit fetched last, in git's own form: one
// pack that the first fetch brought, and what came later: a file for each
// object of a save, a pack of a larger change.
type store struct {
	dir     string
	objects *filesystem.Storage
	cache   cache.Object // of objects
	head    head
}

// head says what the store has in full, without its history.
type head struct {
	Commit string `json:"commit"`
	// Pack is the id of the pack of the first fetch.
	Pack string `json:"pack,omitempty"`
	// More are the ids of the packs of later ones.
	More []string `json:"more,omitempty"`
	// Renewed is set while packs of earlier first fetches are still here: the
	// working tree may have been made from them.
	Renewed bool `json:"renewed,omitempty"`
}

// hash returns the commit's; zero for none.
func (h head) hash() plumbing.Hash { return plumbing.NewHash(h.Commit) }

// openStore opens the store in dir, which it makes where it is not there. A
// head that cannot be read counts as none: the next fetch brings everything.
func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "objects", "pack"), 0o700); err != nil {
		return nil, fmt.Errorf("making the object store: %w", err)
	}
	s := &store{dir: dir}
	s.reopen()
	_ = readJSON(s.headPath(), &s.head)
	return s, nil
}

func (s *store) headPath() string { return filepath.Join(s.dir, "head.json") }

func (s *store) reopen() {
	if s.objects != nil {
		_ = s.objects.Close()
	}
	s.cache = cache.NewObjectLRU(cacheSize)
	s.objects = s.openObjects(s.cache)
}

func (s *store) openObjects(objects cache.Object) *filesystem.Storage {
	return filesystem.NewStorageWithOptions(osfs.New(s.dir), objects,
		filesystem.Options{KeepDescriptors: true, LargeObjectThreshold: inMemory})
}

// sweepTemporary removes what a fetch that broke off has left. None may be
// under way.
func (s *store) sweepTemporary() {
	for _, pattern := range []string{"tmp_pack_*", "tmp_obj_*"} {
		names, _ := filepath.Glob(filepath.Join(s.dir, "objects", "pack", pattern))
		for _, name := range names {
			// A writer for which the disk was full leaves its file open, and
			// the disk full with it.
			_ = os.Truncate(name, 0)
			_ = os.Remove(name)
		}
	}
}

// showFiles begins to show the files of a pack while it comes; the function that
// it returns may be nil.
type showFiles func() func(plumbing.Hash, []byte)

// add takes in what a fetch of the commit brought.
func (s *store) add(commit plumbing.Hash, a *answer, show showFiles) error {
	next := s.head
	next.Commit = commit.String()
	var err error
	if a.common {
		err = s.addMore(a, &next, show)
	} else {
		next.Pack, err = s.keepPack(a.pack, show())
		next.More, next.Renewed = nil, true
		// Not what was read while it was written: that has the whole pack's
		// details in memory.
		s.reopen()
	}
	if err != nil {
		s.sweepTemporary()
		return fmt.Errorf("%w %.7s: %w", errTakingIn, commit, err)
	}
	if _, err := s.commitTree(commit); err != nil {
		return err
	}
	return s.setHead(next)
}

func (s *store) setHead(h head) error {
	if err := writeJSON(s.headPath(), h); err != nil {
		return fmt.Errorf("recording what was fetched: %w", err)
	}
	s.head = h
	return nil
}

// forget says that nothing is here in full.
func (s *store) forget() error {
	next := s.head
	next.Commit = ""
	return s.setHead(next)
}

// addPack writes a complete pack with its index and returns its id.
func (s *store) addPack(r io.Reader) (id string, err error) {
	w, err := s.objects.PackfileWriter()
	if err != nil {
		return "", err
	}
	// A pack ends with its checksum, which names it.
	end := &lastBytes{}
	_, err = io.Copy(w, io.TeeReader(r, end))
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	return plumbing.Hash(end.last).String(), err
}

// addMore takes in the pack of a fetch on top of what is here.
func (s *store) addMore(a *answer, next *head, show showFiles) error {
	pack := bufio.NewReader(a.pack)
	start, err := pack.Peek(packHead)
	if err != nil {
		return err
	}
	n, err := objectsIn(start)
	switch {
	case err != nil:
		return err
	case n <= looseObjects:
		return s.addLoose(pack)
	case len(next.More) >= morePacks:
		return fmt.Errorf("%w: the fetch brings %d objects", errStartOver, n)
	}
	var id string
	if n > earlyObjects && !a.thin {
		if id, err = s.keepPack(pack, show()); err == nil {
			s.reopen() // which reads all indexes again
		}
	} else {
		id, err = s.addPack(pack)
	}
	if err != nil && a.thin { // that, or damaged
		return fmt.Errorf("%w: %w", errStartOver, err)
	}
	next.More = append(slices.Clone(next.More), id)
	return err
}

// addLoose writes each object of a pack to a file of its own. The pack may hold
// differences to objects that are here.
func (s *store) addLoose(pack io.Reader) error {
	loose := newLooseWriter(s.objects, func() storer.EncodedObjectStorer { return s.openObjects(cache.NewObjectLRU(cacheSize)) })
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(pack), loose)
	if err == nil {
		_, err = parser.Parse()
	}
	return errors.Join(err, loose.close())
}

// errTakingIn means that what the hub sent ended too early, or was no pack.
var errTakingIn = errors.New("taking in commit")

// errStartOver means that the commit is to be fetched without a base.
var errStartOver = errors.New("the store cannot build on what it has")

// commitTree returns the tree of a commit that is here.
func (s *store) commitTree(commit plumbing.Hash) (plumbing.Hash, error) {
	data, err := s.read(plumbing.CommitObject, commit)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return decodeCommit(data)
}

// tree returns the entries of a tree.
func (s *store) tree(hash plumbing.Hash) ([]entry, error) {
	if hash == emptyTree {
		return nil, nil
	}
	data, err := s.read(plumbing.TreeObject, hash)
	if err != nil {
		return nil, err
	}
	return decodeTree(data)
}

func (s *store) read(t plumbing.ObjectType, hash plumbing.Hash) ([]byte, error) {
	r, err := s.open(t, hash)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxTree+1))
	if err == nil && len(data) > maxTree {
		err = fmt.Errorf("it has more than %d MiB", maxTree>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %.7s: %w", t, hash, err)
	}
	return data, nil
}

// blob returns the content of a file.
func (s *store) blob(hash plumbing.Hash) (io.ReadCloser, error) {
	return s.open(plumbing.BlobObject, hash)
}

func (s *store) open(t plumbing.ObjectType, hash plumbing.Hash) (io.ReadCloser, error) {
	o, err := s.objects.EncodedObject(t, hash)
	if err != nil {
		return nil, fmt.Errorf("reading %s %.7s: %w", t, hash, err)
	}
	r, err := o.Reader()
	if err != nil {
		return nil, fmt.Errorf("reading %s %.7s: %w", t, hash, err)
	}
	return r, nil
}

// dropOld removes the packs of earlier first fetches. The working tree must be
// the head's.
func (s *store) dropOld() error {
	if !s.head.Renewed {
		return nil
	}
	packs, err := filepath.Glob(filepath.Join(s.dir, "objects", "pack", "pack-*"))
	if err != nil {
		return err
	}
	s.reopen() // first, so that no index of a pack stays that is no more
	for _, path := range packs {
		name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), "pack-"), ".")
		if name == s.head.Pack || slices.Contains(s.head.More, name) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("removing old objects: %w", err)
		}
	}
	next := s.head
	next.Renewed = false
	return s.setHead(next)
}

// collect removes the objects that came one by one, were written before the
// given time and are not in the head's commit. It may run while another
// goroutine fetches through another store value: what a later fetch leaves out
// is in this commit, and what it brings is younger.
func (s *store) collect(before time.Time) (removed int, err error) {
	if s.head.Commit == "" {
		return 0, nil
	}
	commit := s.head.hash()
	tree, err := s.commitTree(commit)
	if err != nil {
		return 0, err
	}
	needed := map[plumbing.Hash]bool{commit: true}
	if err := s.reach(tree, needed); err != nil {
		return 0, err
	}
	loose, err := filepath.Glob(filepath.Join(s.dir, "objects", "[0-9a-f][0-9a-f]", "*"))
	if err != nil {
		return 0, err
	}
	for _, path := range loose {
		hex := filepath.Base(filepath.Dir(path)) + filepath.Base(path)
		info, err := os.Lstat(path)
		if err != nil || !info.ModTime().Before(before) || needed[plumbing.NewHash(hex)] {
			continue
		}
		if os.Remove(path) == nil {
			removed++
		}
	}
	return removed, nil
}

// reach adds the objects of a tree.
func (s *store) reach(tree plumbing.Hash, needed map[plumbing.Hash]bool) error {
	if needed[tree] {
		return nil
	}
	needed[tree] = true
	entries, err := s.tree(tree)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.kind != kindDir {
			needed[e.hash] = true
		} else if err := s.reach(e.hash, needed); err != nil {
			return err
		}
	}
	return nil
}

// lastBytes keeps the last 20 bytes written to it.
type lastBytes struct{ last [20]byte }

func (l *lastBytes) Write(p []byte) (int, error) {
	if n := len(p); n < len(l.last) {
		copy(l.last[:], l.last[n:])
		copy(l.last[len(l.last)-n:], p)
	} else {
		copy(l.last[:], p[n-len(l.last):])
	}
	return len(p), nil
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// writeJSON replaces the file at once. It is not synced to the disk: what has
// to survive is the end of a container, not that of its node.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
