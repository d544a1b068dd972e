package quick

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// check reports why the commit is not to be taken: as ErrDoubt, also for what is
// plainly wrong. read returns objects of the repository as it is.
func check(p *pack, commit, old plumbing.Hash, read func(plumbing.Hash, plumbing.ObjectType) ([]byte, error)) error {
	c := &checker{pack: p.objects, read: read, room: maxTrees}
	text, err := c.own(commit, plumbing.CommitObject)
	if err != nil {
		return err
	}
	tree, parent, ok := parseCommit(text)
	if !ok || parent != old {
		return fmt.Errorf("%w: the commit is not a plain one on top of the branch", ErrDoubt)
	}
	before, err := read(old, plumbing.CommitObject)
	if err != nil {
		return err
	}
	oldTree, ok := treeOf(before)
	if !ok {
		return fmt.Errorf("%w: the branch's commit has no tree", ErrDoubt)
	}
	if tree != oldTree {
		if err := c.tree(tree, oldTree, 0); err != nil {
			return err
		}
	}
	for id, o := range c.pack {
		if !o.seen {
			return fmt.Errorf("%w: nothing leads to object %s", ErrDoubt, id)
		}
	}
	return nil
}

// maxTrees bounds the directories that one check holds, new and old, in bytes:
// each of these needs some six in memory, and those of a path from the root on are
// held at once. Directories of 200,000 names together.
const maxTrees = 8 << 20

type checker struct {
	pack map[plumbing.Hash]*object
	read func(plumbing.Hash, plumbing.ObjectType) ([]byte, error)
	room int // of maxTrees
}

// parse parses a tree for which there is room.
func (c *checker) parse(text []byte) ([]entry, error) {
	if c.room -= len(text); c.room < 0 {
		return nil, fmt.Errorf("the directories have more than %d bytes", maxTrees)
	}
	return parseTree(text)
}

// own returns the content of one of the pack's objects.
func (c *checker) own(id plumbing.Hash, kind plumbing.ObjectType) ([]byte, error) {
	o := c.pack[id]
	if o == nil || o.kind != kind {
		return nil, fmt.Errorf("%w: the pack has no %s %s", ErrDoubt, kind, id)
	}
	o.seen = true
	return o.content, nil
}

// maxDepth is more than any path that a pod could hold.
const maxDepth = 2048

// tree checks one of the pack's trees against the one that was in its place;
// zero is none. An entry that the pack does not bring must be in that: since
// the repository has all that the branch leads to, it is there in full.
func (c *checker) tree(id, old plumbing.Hash, depth int) error {
	text, err := c.own(id, plumbing.TreeObject)
	if err != nil {
		return err
	}
	entries, err := c.parse(text)
	if err != nil {
		return fmt.Errorf("%w: tree %s: %w", ErrDoubt, id, err)
	}
	if depth > maxDepth {
		return fmt.Errorf("%w: tree %s is too deep", ErrDoubt, id)
	}
	before, err := c.before(old)
	if err != nil {
		return err
	}
	if err := checkEntries(entries, before.own); err != nil {
		return fmt.Errorf("%w: tree %s: %w", ErrDoubt, id, err)
	}
	for _, e := range entries {
		if err := c.entry(e, before, depth); err != nil {
			return err
		}
	}
	return nil
}

// directory is what was in a tree's place.
type directory struct {
	there map[plumbing.Hash]bool // whether it is a directory
	dirs  map[string]plumbing.Hash
	own   map[string]entry // those with names of git's own
}

func (c *checker) before(old plumbing.Hash) (directory, error) {
	if old.IsZero() {
		return directory{}, nil
	}
	text, err := c.read(old, plumbing.TreeObject)
	if err != nil {
		return directory{}, err
	}
	entries, err := c.parse(text)
	if err != nil {
		return directory{}, fmt.Errorf("%w: the branch's tree %s: %w", ErrDoubt, old, err)
	}
	d := directory{make(map[plumbing.Hash]bool, len(entries)), map[string]plumbing.Hash{}, map[string]entry{}}
	for _, e := range entries {
		if !e.plain() {
			continue // a submodule's commit is not here, and an old mode may mean anything
		}
		d.there[e.id] = e.dir()
		if e.dir() {
			d.dirs[e.name] = e.id
		}
		if doubtful(e.name) {
			d.own[e.name] = e
		}
	}
	return d, nil
}

func (c *checker) entry(e entry, before directory, depth int) error {
	o := c.pack[e.id]
	if o == nil {
		if dir, found := before.there[e.id]; !found || dir != e.dir() {
			return fmt.Errorf("%w: %q is neither in the pack nor was it in its directory", ErrDoubt, e.name)
		}
		return nil
	}
	if !e.dir() {
		_, err := c.own(e.id, plumbing.BlobObject)
		return err
	}
	if o.seen && o.kind == plumbing.TreeObject {
		// It was checked against another directory, which may have had what this
		// one's had not; but what it lacked would have been an error.
		return nil
	}
	return c.tree(e.id, before.dirs[e.name], depth+1)
}

// entry of a tree.
type entry struct {
	mode, name string
	id         plumbing.Hash
}

const modeDir = "40000"

func (e entry) dir() bool { return e.mode == modeDir }

// plain reports whether it is a file, a link or a directory, written as git
// writes it.
func (e entry) plain() bool {
	switch e.mode {
	case modeDir, "100644", "100755", "120000":
		return true
	}
	return false
}

func parseTree(text []byte) (entries []entry, err error) {
	for rest := string(text); rest != ""; { // of which each name is a part
		head, after, found := strings.Cut(rest, "\x00")
		mode, name, spaced := strings.Cut(head, " ")
		if !found || !spaced || len(after) < len(plumbing.Hash{}) {
			return nil, fmt.Errorf("entry %d does not end", len(entries))
		}
		e := entry{mode: mode, name: name}
		rest = after[copy(e.id[:], after):]
		entries = append(entries, e)
	}
	return entries, nil
}

// checkEntries reports what git's fsck might say about entries. Those of own
// were there before: git has looked at them.
func checkEntries(entries []entry, own map[string]entry) error {
	names := make(map[string]bool, len(entries))
	last := ""
	for _, e := range entries {
		if !e.plain() {
			return fmt.Errorf("%q has the mode %q", e.name, e.mode)
		}
		key := e.name // git sorts a directory as if its name ended in a slash
		if e.dir() {
			key += "/"
		}
		switch {
		case doubtful(e.name) && own[e.name] != e:
			return fmt.Errorf("the name %q", e.name)
		case key <= last || names[e.name]:
			return fmt.Errorf("%q is not in order", e.name)
		case e.id.IsZero():
			return fmt.Errorf("%q is nothing", e.name)
		}
		names[e.name], last = true, key
	}
	return nil
}

// shortName is what Windows makes of a long one: any of git's files may be
// meant.
var shortName = regexp.MustCompile(`~[0-9]`)

// doubtful reports a name that git's fsck refuses or looks behind: what means
// .git, .gitmodules and the like on any file system. It reports more than
// those.
func doubtful(name string) bool {
	const longest = 255 // Linux's NAME_MAX
	if name == "" || name == "." || name == ".." || len(name) > longest || strings.ContainsAny(name, "/\\") || shortName.MatchString(name) {
		return true
	}
	// macOS leaves out some characters that are not ASCII.
	plain := strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return -1
		}
		return r
	}, strings.ToLower(name))
	return strings.HasPrefix(plain, ".git") || strings.HasPrefix(plain, "git~")
}

// person is an author or committer as git writes one.
const person = ` [^<>\x00\n]+ <[^<>\x00\n]*> [0-9]{1,18} [+-][0-9]{4}\n`

var plainCommit = regexp.MustCompile(`^tree ([0-9a-f]{40})\nparent ([0-9a-f]{40})\nauthor` + person + `committer` + person + `\n[^\x00]*$`)

// parseCommit parses a commit that has one parent and no extra headers.
func parseCommit(text []byte) (tree, parent plumbing.Hash, ok bool) {
	found := plainCommit.FindSubmatch(text)
	if found == nil {
		return tree, parent, false
	}
	return plumbing.NewHash(string(found[1])), plumbing.NewHash(string(found[2])), true
}

// treeOf returns any commit's tree.
func treeOf(text []byte) (plumbing.Hash, bool) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	id, found := strings.CutPrefix(string(line), "tree ")
	return plumbing.NewHash(id), found && plumbing.IsHash(id)
}
