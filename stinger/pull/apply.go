package pull

import (
	"cmp"
	"crypto/rand"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
)

// applier carries out one plan in a directory. First it writes every new file
// under a temporary name beside its place; whatever can fail for want of space
// or a right fails then, when nothing has changed. Then it renames them all
// into place and removes what is no more.
//
// It goes through an os.Root, and looks at each directory before it uses it:
// so no link, wherever it leads, is ever followed.
type applier struct {
	root *os.Root
	blob func(plumbing.Hash) (io.ReadCloser, error)
	// early has files that are written already.
	early *early
	// verify leaves alone what is as it should be already.
	verify bool
	// fault, where a test sets it, may make a step fail: "stage", "place",
	// "remove".
	fault func(step, path string) error

	workers int
	reading sync.Mutex      // held while blob's content is read
	looking sync.Mutex      // guards dirs
	dirs    map[string]bool // directories that are known to be real ones
	staged  []staged
}

// staged is a write whose content is at temp, or will be.
type staged struct {
	write
	temp  string
	early string // where it was written early, or ""
}

// check reports why a link of the plan may not be.
func (a *applier) check(p plan) error {
	for _, w := range p.writes {
		if w.kind != kindLink {
			continue
		}
		content, err := a.blob(w.hash)
		if err != nil {
			return err
		}
		target, err := readTarget(content)
		content.Close()
		if err == nil {
			err = checkTarget(target, strings.Count(w.path, "/"))
		}
		if err != nil {
			return fmt.Errorf("link %q: %w", w.path, err)
		}
	}
	return nil
}

// readTarget reads a link's target, a little more than is allowed at most.
func readTarget(content io.Reader) (string, error) {
	target, err := io.ReadAll(io.LimitReader(content, maxPath+1))
	return string(target), err
}

// stage writes what is new beside its place, or nothing. It returns what will
// change.
func (a *applier) stage(p plan) (changed changes, err error) {
	session := tempPrefix + strings.ToLower(rand.Text()[:8]) + "-"
	there := make([]bool, len(p.writes))
	if a.verify {
		_ = parallel(a.workers, len(p.writes), func(i int) error {
			there[i] = a.isThere(p.writes[i])
			return nil
		})
	}
	apart := map[string]bool{}
	for i, w := range p.writes {
		if there[i] {
			continue
		}
		dir := a.nearestDir(parent(w.path))
		s := staged{write: w, temp: join(dir, session+strconv.Itoa(i))}
		if w.kind != kindLink && !apart[dir] {
			s.early = a.early.take(w.hash)
		}
		if _, known := apart[dir]; s.early != "" && !known {
			// The first shows whether the directory is another file system, where
			// what is early cannot be renamed to: a volume.
			err := a.root.Rename(s.early, s.temp)
			if apart[dir] = errors.Is(err, syscall.EXDEV); apart[dir] {
				s.early = ""
			} else if err == nil {
				s.early = s.temp
			}
		}
		a.staged = append(a.staged, s)
	}
	err = parallel(a.workers, len(a.staged), func(i int) error {
		if err := a.stageOne(&a.staged[i]); err != nil {
			return fmt.Errorf("writing %s: %w", a.staged[i].path, err)
		}
		return nil
	})
	if err != nil {
		a.discard()
		return changes{}, err
	}
	return a.changes(p), nil
}

// discard removes what stage wrote.
func (a *applier) discard() {
	for _, s := range a.staged {
		_ = a.root.Remove(s.temp)
	}
	a.staged = nil
}

// place puts what was staged into its place and removes what is no more.
func (a *applier) place(p plan) error {
	for len(a.staged) > 0 {
		s := a.staged[0]
		if err := a.placeOne(s); err != nil {
			return fmt.Errorf("replacing %s: %w", s.path, err)
		}
		a.staged = a.staged[1:]
	}
	for _, path := range p.removes {
		if err := a.remove(path, false); err != nil {
			return fmt.Errorf("removing %s: %w", path, err)
		}
	}
	for _, path := range p.dirs {
		if err := a.remove(path, true); err != nil {
			return fmt.Errorf("removing directory %s: %w", path, err)
		}
	}
	return nil
}

func (a *applier) placeOne(s staged) error {
	if err := a.inject("place", s.path); err != nil {
		return err
	}
	if err := a.makeDir(parent(s.path)); err != nil {
		return err
	}
	err := a.root.Rename(s.temp, s.path)
	if err == nil {
		return nil
	}
	// A directory is in the way, the tree's own of before or another: the
	// tree wins.
	if info, statErr := a.root.Lstat(s.path); statErr != nil || !info.IsDir() {
		return err
	}
	if err := a.root.RemoveAll(s.path); err != nil {
		return err
	}
	a.forgetDirs(s.path)
	return a.root.Rename(s.temp, s.path)
}

// remove removes a file or an empty directory. What is not what the tree had
// there, or is not there, or has something else in it, stays.
func (a *applier) remove(path string, dir bool) error {
	if err := a.inject("remove", path); err != nil {
		return err
	}
	if !a.isDir(parent(path)) {
		return nil
	}
	info, err := a.root.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() != dir {
		return nil
	}
	if err != nil {
		return err
	}
	delete(a.dirs, path)
	err = a.root.Remove(path)
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// makeDir makes the directory and those above it; a file or link in the way
// is removed.
func (a *applier) makeDir(path string) error {
	if a.isDir(path) {
		return nil
	}
	if err := a.makeDir(parent(path)); err != nil {
		return err
	}
	err := a.root.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrExist) {
		if err = a.root.Remove(path); err == nil {
			err = a.root.Mkdir(path, 0o755)
		}
	}
	a.dirs[path] = err == nil
	return err
}

// isDir reports whether the path is a directory, all the way without a link.
func (a *applier) isDir(path string) bool {
	a.looking.Lock()
	defer a.looking.Unlock()
	return a.look(path)
}

func (a *applier) look(path string) bool {
	if a.dirs[path] {
		return true
	}
	if !a.look(parent(path)) {
		return false
	}
	info, err := a.root.Lstat(path)
	a.dirs[path] = err == nil && info.IsDir()
	return a.dirs[path]
}

// nearestDir returns the directory itself, or the nearest above it that is
// there: a file written in it can be renamed into place, since it is on the
// same file system.
func (a *applier) nearestDir(path string) string {
	for !a.isDir(path) {
		path = parent(path)
	}
	return path
}

func (a *applier) forgetDirs(path string) {
	for dir := range a.dirs {
		if dir == path || strings.HasPrefix(dir, path+"/") {
			delete(a.dirs, dir)
		}
	}
}

// isThere reports whether the working tree has just this file or link.
func (a *applier) isThere(w write) bool {
	if !a.isDir(parent(w.path)) {
		return false
	}
	info, err := a.root.Lstat(w.path)
	if err != nil {
		return false
	}
	if w.kind == kindLink {
		if info.Mode()&fs.ModeSymlink == 0 {
			return false
		}
		target, err := a.root.Readlink(w.path)
		return err == nil && hashBlob(strings.NewReader(target), int64(len(target))) == w.hash
	}
	if !info.Mode().IsRegular() || (info.Mode()&0o100 != 0) != (w.kind == kindExecutable) {
		return false
	}
	f, err := a.root.Open(w.path)
	if err != nil {
		return false
	}
	defer f.Close()
	return hashBlob(f, info.Size()) == w.hash
}

// hashBlob returns the id that git gives to the content; the zero hash where
// that is not of this size.
func hashBlob(r io.Reader, size int64) plumbing.Hash {
	h := sha1.New() // not one that looks for collisions: this is our own disk
	fmt.Fprintf(h, "blob %d\x00", size)
	if n, err := io.Copy(h, r); err != nil || n != size {
		return plumbing.ZeroHash
	}
	return plumbing.Hash(h.Sum(nil))
}

// sweep removes what an earlier process staged and did not place.
func (a *applier) sweep(dirs []string) error {
	for _, path := range dirs {
		if !a.isDir(path) {
			continue
		}
		f, err := a.root.Open(cmp.Or(path, "."))
		if err != nil {
			return err
		}
		names, err := f.Readdirnames(-1)
		f.Close()
		if err != nil {
			return err
		}
		for _, name := range names {
			if strings.HasPrefix(name, tempPrefix) {
				_ = a.root.Remove(join(path, name))
			}
		}
	}
	return nil
}

func (a *applier) inject(step, path string) error {
	if a.fault == nil {
		return nil
	}
	return a.fault(step, path)
}
