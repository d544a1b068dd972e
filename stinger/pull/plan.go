package pull

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxPaths is the most paths that a plan may touch: five times the largest tree
// that the benchmarks have. A tree that names itself a few times over needs
// only kilobytes to have more than any disk.
const maxPaths = 500_000

// plan is what turns a working tree that has one tree into one that has
// another.
type plan struct {
	writes  []write
	removes []string // files and links that are no more
	dirs    []string // directories that are no more, the deepest first
	// replaced are the files below directories that become a file.
	replaced []string
}

// write is one file or link that is new or different.
type write struct {
	path string
	kind kind
	hash plumbing.Hash
}

// changed returns how many files are written or removed.
func (p *plan) changed() int { return len(p.writes) + len(p.removes) + len(p.replaced) }

// planner compares trees. It reads only those directories of the two that
// differ. Submodules count as not there: their files are not in the commit.
type planner struct {
	tree func(plumbing.Hash) ([]entry, error)
	plan plan
}

// compare returns the plan from one tree to the other; the zero hash is the
// empty tree.
func compare(tree func(plumbing.Hash) ([]entry, error), from, to plumbing.Hash) (plan, error) {
	p := planner{tree: tree}
	err := p.walk("", from, to)
	return p.plan, err
}

// read returns a directory's entries, in their order and by name, without
// submodules.
func (p *planner) read(path string, hash plumbing.Hash) (entries []entry, byName map[string]entry, err error) {
	if hash.IsZero() {
		return nil, nil, nil
	}
	all, err := p.tree(hash)
	if err != nil {
		return nil, nil, fmt.Errorf("in directory %q: %w", "/"+path, err)
	}
	byName = make(map[string]entry, len(all))
	for _, e := range all {
		if e.kind != kindSubmodule {
			entries = append(entries, e)
			byName[e.name] = e
		}
	}
	return entries, byName, nil
}

func (p *planner) walk(path string, from, to plumbing.Hash) error {
	if from == to {
		return nil
	}
	old, oldByName, err := p.read(path, from)
	if err != nil {
		return err
	}
	now, newByName, err := p.read(path, to)
	if err != nil {
		return err
	}
	for _, e := range now {
		if err := p.add(join(path, e.name), oldByName[e.name], e); err != nil {
			return err
		}
	}
	for _, e := range old {
		if _, still := newByName[e.name]; !still {
			if err := p.remove(join(path, e.name), e); err != nil {
				return err
			}
		}
	}
	return nil
}

// add plans for an entry of the new tree; was is the zero entry where the old
// tree has none of the name.
func (p *planner) add(path string, was, e entry) error {
	if was.kind == e.kind && was.hash == e.hash {
		return nil
	}
	if len(path) > maxPath {
		return fmt.Errorf("path %q… has %d bytes: at most %d are allowed", path[:64], len(path), maxPath)
	}
	if len(p.plan.writes)+len(p.plan.removes) >= maxPaths {
		return fmt.Errorf("the commit changes more than %d paths", maxPaths)
	}
	if e.kind == kindDir {
		before := plumbing.ZeroHash
		if was.kind == kindDir {
			before = was.hash
		}
		return p.walk(path, before, e.hash)
	}
	if was.kind == kindDir {
		// The file's own rename takes the directory's place: to remove the
		// files one by one would only make the time longer in which neither
		// is there.
		below := planner{tree: p.tree}
		if err := below.remove(path, was); err != nil {
			return err
		}
		p.plan.replaced = append(p.plan.replaced, below.plan.removes...)
	}
	p.plan.writes = append(p.plan.writes, write{path, e.kind, e.hash})
	return nil
}

func (p *planner) remove(path string, e entry) error {
	if len(p.plan.writes)+len(p.plan.removes) >= maxPaths {
		return fmt.Errorf("the commit changes more than %d paths", maxPaths)
	}
	if e.kind != kindDir {
		p.plan.removes = append(p.plan.removes, path)
		return nil
	}
	if err := p.walk(path, e.hash, plumbing.ZeroHash); err != nil {
		return err
	}
	p.plan.dirs = append(p.plan.dirs, path)
	return nil
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// parent returns the directory that a path is in; "" is the root.
func parent(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '/'))]
}

// directories returns every directory that the plan names something in.
func (p *plan) directories() []string {
	dirs := map[string]bool{}
	add := func(path string) {
		for ; !dirs[path]; path = parent(path) {
			dirs[path] = true
		}
	}
	for _, w := range p.writes {
		add(parent(w.path))
	}
	for _, path := range slices.Concat(p.removes, p.dirs) {
		add(parent(path))
	}
	return slices.Sorted(maps.Keys(dirs))
}
