package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/ignore"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

// scan compares what is known of a directory with the disk. First it looks,
// which finds what is new, gone or may have changed; then it reads.
type scan struct {
	repo *Repo
	walk errgroup.Group // directories, in parallel

	mu      sync.Mutex
	todo    []pending
	changed int
	paths   []string
	large   []LargeFile
	skipped []Skipped
}

// pending is a file to read.
type pending struct {
	in   *directory
	path string // relative to the Repo's directory
	name string
	old  *entry // nil where there was none
}

// maxPaths is how many changed paths a snapshot names.
const maxPaths = 20

// maxErrors is how many unreadable files an error names.
const maxErrors = 10

func (r *Repo) newScan() *scan {
	s := &scan{repo: r}
	// System calls on cold directories wait for the disk: more walkers than
	// processors keep it busy.
	s.walk.SetLimit(2 * runtime.GOMAXPROCS(0))
	return s
}

// note counts a change and marks what is above it.
func (s *scan) note(in *directory, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in.touch()
	s.changed++
	if len(s.paths) < maxPaths {
		s.paths = append(s.paths, path)
	}
}

func (s *scan) skip(path, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped = append(s.skipped, Skipped{path, reason})
}

// gone notes the files of an entry that is no more.
func (s *scan) gone(in *directory, path string, e *entry) {
	if e == nil {
		return
	}
	s.mu.Lock()
	in.touch()
	s.mu.Unlock()
	e.walk(path, func(path string, _ *entry) { s.note(in, path) })
}

// rulesFor returns the rules for the entries of a directory, given which names
// are in it.
type rulesFor func(has func(name string) bool) (*ignore.Dir, error)

// directory looks at all that is in d, whose path is rel ("" for the Repo's
// own directory).
func (s *scan) directory(ctx context.Context, d *directory, rel string, rules rulesFor) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	list, err := os.ReadDir(filepath.Join(s.repo.dir, rel))
	if rel != "" && vanished(err) {
		list, err = nil, nil
	}
	if err != nil {
		return fmt.Errorf("reading directory %q: %w%s", rel, cause(err), leaveOut)
	}
	d.rules, err = rules(func(name string) bool {
		_, found := slices.BinarySearchFunc(list, name, func(de fs.DirEntry, name string) int { return strings.Compare(de.Name(), name) })
		return found
	})
	if err != nil {
		return err
	}
	old := d.entries
	d.entries = make([]*entry, 0, len(list))
	for _, de := range list {
		var known *entry
		for len(old) > 0 && old[0].name < de.Name() {
			s.gone(d, join(rel, old[0].name), old[0])
			old = old[1:]
		}
		if len(old) > 0 && old[0].name == de.Name() {
			known, old = old[0], old[1:]
		}
		if err := s.entry(ctx, d, rel, de, known); err != nil {
			return err
		}
	}
	for _, e := range old {
		s.gone(d, join(rel, e.name), e)
	}
	return nil
}

// entry looks at one entry of d and puts it at the end of d.entries, which is
// in the order of names.
func (s *scan) entry(ctx context.Context, d *directory, rel string, de fs.DirEntry, known *entry) error {
	path := join(rel, de.Name())
	verdict := d.rules.Match(de.Name(), de.IsDir())
	if verdict == ignore.Ignore || !s.possible(path, de.Name(), de.Type()) {
		s.gone(d, path, known)
		return nil
	}
	if de.IsDir() {
		e := s.enter(d, path, de.Name(), known)
		d.entries = append(d.entries, e)
		step := func() error { return s.directory(ctx, e.sub, path, below(d.rules, de.Name(), verdict)) }
		if !s.walk.TryGo(step) {
			return step()
		}
		return nil
	}
	info, err := de.Info()
	if vanished(err) {
		s.gone(d, path, known)
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at %q: %w", path, cause(err))
	}
	if e := s.file(d, path, info, known); e != nil {
		d.entries = append(d.entries, e)
	}
	return nil
}

// enter returns the entry of the directory name in d.
func (s *scan) enter(d *directory, path, name string, known *entry) *entry {
	if known != nil && known.sub != nil {
		return known
	}
	s.gone(d, path, known)
	return &entry{name: name, mode: object.ModeDir, sub: &directory{parent: d}}
}

func below(rules *ignore.Dir, name string, v ignore.Verdict) rulesFor {
	return func(has func(string) bool) (*ignore.Dir, error) { return rules.Enter(name, v, has) }
}

// file returns what is known of a file, and sees to it that it is read where
// that may be out of date. A new file has an entry without content until then.
func (s *scan) file(d *directory, path string, info fs.FileInfo, known *entry) *entry {
	if known != nil && known.sub != nil {
		s.gone(d, path, known)
		known = nil
	}
	if known != nil && !known.racy && known.stat == newStat(info) && s.repo.store.Has(known.id) {
		if mode := d.modeOf(known.name, modeOf(info), known.mode == object.ModeExecutable); mode != known.mode {
			known.mode = mode
			s.note(d, path)
		}
		return known
	}
	s.mu.Lock()
	s.todo = append(s.todo, pending{d, path, info.Name(), known})
	s.mu.Unlock()
	if known != nil {
		return known
	}
	return &entry{name: info.Name()}
}

// possible reports whether something can be part of a snapshot, and tells the
// user where it cannot.
func (s *scan) possible(path, name string, mode fs.FileMode) bool {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		s.skip(path, "a named pipe")
	case mode&fs.ModeSocket != 0:
		s.skip(path, "a socket")
	case mode&(fs.ModeDevice|fs.ModeCharDevice) != 0:
		s.skip(path, "a device")
	case mode&fs.ModeIrregular != 0:
		s.skip(path, "neither a file nor a directory")
	case reserved(name):
		s.skip(path, "some systems take the name for git's own directory")
	default:
		return true
	}
	return false
}

// read reads what the scan found to read, in parallel where it is much, and
// puts it in its place.
func (s *scan) read(ctx context.Context) error {
	workers := min(runtime.GOMAXPROCS(0), 1+len(s.todo)/16)
	next := make(chan pending)
	var mu sync.Mutex // of the directories, which readers share
	var faults []error
	work := func(rd *reader) {
		for p := range next {
			e, err := rd.read(filepath.Join(s.repo.dir, p.path), p.path, p.name, p.old != nil && p.old.stat.size > 0)
			mu.Lock()
			if err != nil {
				faults = append(faults, err)
			} else {
				s.place(p, e)
			}
			mu.Unlock()
		}
	}
	var group sync.WaitGroup
	for i := range workers {
		rd := s.repo.reader
		if i > 0 {
			rd = newReader(s.repo.store, rd.disk)
		}
		group.Go(func() { work(rd) })
	}
	for _, p := range s.todo {
		if ctx.Err() != nil {
			break
		}
		next <- p
	}
	close(next)
	group.Wait()
	if n := len(faults); n > maxErrors {
		faults = append(faults[:maxErrors], fmt.Errorf("and %d more", n-maxErrors))
	}
	return errors.Join(append(faults, ctx.Err())...)
}

// place puts what was read in its place.
func (s *scan) place(p pending, e *entry) {
	if e == nil {
		if p.in.remove(p.name); p.old != nil {
			s.note(p.in, p.path)
		}
		return
	}
	e.mode = p.in.modeOf(e.name, e.mode, e.script)
	p.in.put(e)
	if p.old == nil || p.old.id != e.id || p.old.mode != e.mode {
		s.note(p.in, p.path)
		s.large = addLarge(s.large, LargeFile{p.path, e.stat.size})
	} else if p.old.stat.size != e.stat.size {
		p.in.touch()
	}
}

// vanished reports whether the error says that a file is there no more, or no
// more what it was.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotDir)
}

// leaveOut ends the errors about what cannot be read.
const leaveOut = " (to leave it out, name it in .fmcignore)"

// cause returns an error without the operation and the absolute path that
// package os puts before it.
func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// reserved reports whether some file system takes name for ".git": case does
// not count on many, NTFS ignores trailing dots and spaces, knows streams and
// short names, and HFS+ ignores invisible characters. git refuses to check
// such a tree out.
func reserved(name string) bool {
	return slices.ContainsFunc(strings.Split(name, `\`), func(part string) bool {
		part, _, _ = strings.Cut(part, ":")
		part = strings.TrimRight(strings.Map(visible, part), " .")
		return strings.EqualFold(part, ".git") || strings.EqualFold(part, "git~1")
	})
}

// visible drops the characters that HFS+ ignores in names.
func visible(c rune) rune {
	switch {
	case c >= 0x200c && c <= 0x200f, c >= 0x202a && c <= 0x202e, c >= 0x206a && c <= 0x206f, c == 0xfeff:
		return -1
	}
	return c
}
