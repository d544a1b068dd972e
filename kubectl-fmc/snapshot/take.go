package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/ignore"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

const errNotDir = syscall.ENOTDIR

// Take makes a snapshot. It looks at every file and reads those that changed
// since the last snapshot, of this run or an earlier one.
func (r *Repo) Take(ctx context.Context) (Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.takeAll(ctx, time.Now())
}

// TakePaths makes a snapshot and looks only at the changed paths, absolute or
// relative to the directory, and at what is below them. Its work does not grow
// with the number of files elsewhere. It looks at everything where a changed
// path holds ignore rules, and after a failure.
func (r *Repo) TakePaths(ctx context.Context, changed []string) (Snapshot, error) {
	start := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root.rules == nil || r.loaded || r.stale {
		return r.takeAll(ctx, start)
	}
	s := r.newScan()
	paths := r.relative(changed)
	if slices.ContainsFunc(paths, holdsRules) {
		return r.takeAll(ctx, start)
	}
	for _, rel := range paths {
		if err := s.path(ctx, rel); err != nil {
			r.stale = true
			return Snapshot{}, errors.Join(err, s.walk.Wait())
		}
	}
	return r.finish(ctx, s, start, false)
}

// holdsRules reports whether a change of the path changes what belongs: a file
// with ignore rules, or the directory as a whole.
func holdsRules(rel string) bool {
	base := filepath.Base(rel)
	return rel == "." || base == ignore.GitFile || base == ignore.OwnFile
}

// relative returns the paths relative to the directory, with slashes, without
// those outside it and those below another of them.
func (r *Repo) relative(changed []string) []string {
	set := make(map[string]bool, len(changed))
	for _, path := range changed {
		if filepath.IsAbs(path) {
			rel, err := filepath.Rel(r.dir, path)
			if err != nil {
				continue
			}
			path = rel
		}
		path = filepath.ToSlash(filepath.Clean(path))
		if path != ".." && !strings.HasPrefix(path, "../") {
			set[path] = true
		}
	}
	covered := func(path string) bool {
		for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
			if set[path[:i]] {
				return true
			}
		}
		return false
	}
	var paths []string
	for path := range set {
		if holdsRules(path) || !covered(path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// takeAll scans the whole directory. The caller holds mu.
func (r *Repo) takeAll(ctx context.Context, start time.Time) (Snapshot, error) {
	rules, err := ignore.Load(r.dir, r.Ignore())
	if err != nil {
		return Snapshot{}, err
	}
	s := r.newScan()
	load := func(func(string) bool) (*ignore.Dir, error) { return rules, nil }
	if err := s.directory(ctx, r.root, "", load); err != nil {
		r.stale = true
		return Snapshot{}, errors.Join(err, s.walk.Wait())
	}
	snap, err := r.finish(ctx, s, start, true)
	if err == nil && rules.AutoCRLF() && !r.warned {
		r.warned = true
		snap.Notes = append(snap.Notes, autoCRLF)
	}
	return snap, err
}

// autoCRLF is the note about git's setting of that name.
const autoCRLF = "git's core.autocrlf=true checks text files out with CRLF, and so they go to the pods, but for scripts (`git config core.autocrlf input`, and check out anew, keeps LF)"

// path looks at one path, "a/b/c".
func (s *scan) path(ctx context.Context, rel string) error {
	d, at := s.repo.root, ""
	for rest := rel; ; {
		name, below, more := strings.Cut(rest, "/")
		path := join(at, name)
		known := d.find(name)
		if more && known != nil && known.sub != nil {
			d, at, rest = known.sub, path, below
			continue
		}
		// Either this is it, or something above it changed with it.
		return s.leaf(ctx, d, path, name, known)
	}
}

// leaf looks at the entry name of d.
func (s *scan) leaf(ctx context.Context, d *directory, path, name string, known *entry) error {
	info, err := os.Lstat(filepath.Join(s.repo.dir, path))
	if err == nil && foldsCase && !listed(filepath.Join(s.repo.dir, filepath.Dir(path)), name) {
		err = os.ErrNotExist // only a name of another case is there
	}
	if err != nil && !vanished(err) {
		return fmt.Errorf("looking at %q: %w", path, err)
	}
	drop := func() error {
		s.gone(d, path, d.remove(name))
		return nil
	}
	if err != nil {
		return drop()
	}
	verdict := d.rules.Match(name, info.IsDir())
	if verdict == ignore.Ignore || !s.possible(path, name, info.Mode()) {
		return drop()
	}
	if !info.IsDir() {
		d.put(s.file(d, path, info, known))
		return nil
	}
	e := s.enter(d, path, name, known)
	d.put(e)
	return s.directory(ctx, e.sub, path, below(d.rules, name, verdict))
}

// finish reads what the scan found and makes the snapshot.
func (r *Repo) finish(ctx context.Context, s *scan, start time.Time, all bool) (Snapshot, error) {
	err := s.walk.Wait()
	if err == nil {
		err = s.read(ctx)
	}
	if err == nil {
		err = r.root.build(r.store, r.reader.enc, all)
	}
	if err != nil {
		r.stale = true
		return Snapshot{}, err
	}
	slices.Sort(s.paths)
	snap := Snapshot{
		Tree: r.root.tree, Files: r.root.files, Bytes: r.root.bytes,
		Changed: s.changed, Paths: s.paths, Large: s.large, Skipped: s.skipped,
		Commit: r.last.Commit, message: r.last.message, at: r.last.at,
	}
	if snap.Tree != r.last.Tree || snap.Commit.IsZero() {
		if err := r.commit(&snap); err != nil {
			r.stale = true
			return Snapshot{}, err
		}
	}
	r.last, r.stale = snap, false
	if all && s.changed > 0 {
		err = r.saveIndex()
	}
	if all {
		r.loaded = false
	}
	err = errors.Join(err, r.compact())
	snap.Took = time.Since(start)
	return snap, err
}

// commit gives the snapshot its commit, which is the acknowledged one where
// the tree is.
func (r *Repo) commit(snap *Snapshot) (err error) {
	snap.at, snap.message = time.Now(), message(r.service, snap.Changed, snap.Paths)
	if snap.Tree == r.head.Tree {
		snap.Commit = r.head.Commit
		return nil
	}
	snap.Commit, err = r.store.Put(r.reader.enc, object.Commit, object.EncodeCommit(snap.Tree, r.head.Commit, snap.at, snap.message))
	return err
}

// Printable returns a path as it can be shown: quoted where it has anything that
// would drive a terminal or be taken for an end of it.
func Printable(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}

// message sums up what changed; it says nothing about where it was changed.
func message(service string, changed int, paths []string) string {
	const named = 3
	var b strings.Builder
	if service != "" {
		b.WriteString(service + ": ")
	}
	switch changed {
	case 0:
		b.WriteString("snapshot")
	case 1:
		b.WriteString("1 file changed: ")
	default:
		fmt.Fprintf(&b, "%d files changed: ", changed)
	}
	for i, path := range paths[:min(named, len(paths))] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(Printable(path))
	}
	if changed > named {
		b.WriteString(", …")
	}
	return b.String()
}
