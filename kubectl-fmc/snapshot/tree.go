package snapshot

import (
	"slices"
	"strings"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/ignore"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

// directory is what is known of one directory. Directories without a file are
// kept, though a tree has none.
type directory struct {
	parent  *directory
	entries []*entry // by name
	rules   *ignore.Dir
	clean   bool // tree, files and bytes are those of entries
	tree    object.ID
	files   int
	bytes   int64
}

// entry is a file, a symbolic link or a directory.
type entry struct {
	name string
	mode object.Mode
	id   object.ID // zero while the content is unknown; not used for directories
	stat stat
	// racy is set where the file was so young when it was read that a later
	// change may have left it with the same stat.
	racy   bool
	script bool // as it was read last, this run: its content is a script's
	sub    *directory
}

func (d *directory) search(name string) (int, bool) {
	return slices.BinarySearchFunc(d.entries, name, func(e *entry, name string) int { return strings.Compare(e.name, name) })
}

func (d *directory) find(name string) *entry {
	if i, found := d.search(name); found {
		return d.entries[i]
	}
	return nil
}

// put adds e, in the place of one of its name where there is one.
func (d *directory) put(e *entry) {
	i, found := d.search(e.name)
	if found {
		d.entries[i] = e
		return
	}
	d.entries = slices.Insert(d.entries, i, e)
}

// remove removes and returns the entry of that name, or nil.
func (d *directory) remove(name string) *entry {
	i, found := d.search(name)
	if !found {
		return nil
	}
	e := d.entries[i]
	d.entries = slices.Delete(d.entries, i, i+1)
	return e
}

// touch marks the directory and those above as changed.
func (d *directory) touch() {
	for ; d != nil; d = d.parent {
		d.clean = false
	}
}

// files calls f for the path of each file below e, whose own path is given.
func (e *entry) walk(path string, f func(path string, e *entry)) {
	if e.sub == nil {
		f(path, e)
		return
	}
	for _, inner := range e.sub.entries {
		inner.walk(path+"/"+inner.name, f)
	}
}

// build writes the trees of the directories that changed and returns those of
// d: its own tree. With all, it visits the clean ones, too.
func (d *directory) build(store *object.Store, enc *object.Encoder, all bool) error {
	if d.clean && !all {
		return nil
	}
	same := d.clean
	files, bytes := 0, int64(0)
	for _, e := range d.entries {
		if e.sub == nil {
			files++
			bytes += e.stat.size
			continue
		}
		before := e.sub.tree
		if err := e.sub.build(store, enc, all); err != nil {
			return err
		}
		same = same && e.sub.tree == before
		files += e.sub.files
		bytes += e.sub.bytes
	}
	d.files, d.bytes = files, bytes
	if !same || d.tree.IsZero() {
		tree, err := store.Put(enc, object.Tree, object.EncodeTree(d.treeEntries()))
		if err != nil {
			return err
		}
		d.tree = tree
	}
	d.clean = true
	return nil
}

func (d *directory) treeEntries() []object.Entry {
	entries := make([]object.Entry, 0, len(d.entries))
	for _, e := range d.entries {
		switch {
		case e.sub == nil:
			entries = append(entries, object.Entry{Name: e.name, Mode: e.mode, ID: e.id})
		case e.sub.files > 0:
			entries = append(entries, object.Entry{Name: e.name, Mode: object.ModeDir, ID: e.sub.tree})
		}
	}
	return entries
}
