package snapshot

import (
	"io"
	"path/filepath"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

// The methods below make a Repo the Source of a push.Pusher.

// Acknowledged returns the last commit that a hub acknowledged, or zeros.
func (r *Repo) Acknowledged() (commit, tree object.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head.Commit, r.head.Tree
}

// Acknowledge records what the hub has now, in a file as well: the next run
// pushes from there.
func (r *Repo) Acknowledge(commit, tree object.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := head{commit, tree}
	if r.head == h {
		return nil
	}
	r.head = h
	if r.last.Tree == tree {
		r.last.Commit = commit
	}
	return h.write(filepath.Join(r.cache, headName))
}

// Commit returns a commit of the last snapshot's tree with that parent, which
// may be zero.
func (r *Repo) Commit(tree, parent object.ID) (object.ID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.store.Put(r.reader.enc, object.Commit, object.EncodeCommit(tree, parent, r.last.at, r.last.message))
}

// TreeOf returns the tree of a commit, or zero where it is not known here.
func (r *Repo) TreeOf(commit object.ID) object.ID {
	content, err := r.store.Read(commit, object.Commit)
	if err != nil {
		// Another process may have pushed the same directory.
		if h := readHead(filepath.Join(r.cache, headName)); h.Commit == commit {
			return h.Tree
		}
		return object.ID{}
	}
	tree, err := object.CommitTree(content)
	if err != nil {
		return object.ID{}
	}
	return tree
}

// Difference returns the trees and blobs that tree consists of and base, which
// may be zero, does not have at the same place.
func (r *Repo) Difference(tree, base object.ID) ([]object.ID, error) {
	var ids []object.ID
	seen := map[object.ID]bool{}
	err := r.difference(tree, base, func(id object.ID) bool {
		if seen[id] {
			return false
		}
		seen[id] = true
		ids = append(ids, id)
		return true
	})
	return ids, err
}

// Entry returns an object as an entry of a pack.
func (r *Repo) Entry(id object.ID) (*io.SectionReader, error) { return r.store.Entry(id) }

// difference calls add for each object; where that returns false, it does not
// look into it.
func (r *Repo) difference(tree, base object.ID, add func(object.ID) bool) error {
	if tree == base || !add(tree) {
		return nil
	}
	entries, err := r.readTree(tree)
	if err != nil {
		return err
	}
	old := map[string]object.ID{}
	if !base.IsZero() {
		// What cannot be read of the base counts as absent: then more is sent
		// than need be.
		before, _ := r.readTree(base)
		for _, e := range before {
			old[e.Name] = e.ID
		}
	}
	for _, e := range entries {
		was := old[e.Name]
		if e.Mode == object.ModeDir {
			err = r.difference(e.ID, was, add)
		} else if e.ID != was {
			add(e.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Repo) readTree(id object.ID) ([]object.Entry, error) {
	content, err := r.store.Read(id, object.Tree)
	if err != nil {
		return nil, err
	}
	return object.DecodeTree(content)
}

// reachable adds all that a tree consists of.
func (r *Repo) reachable(tree object.ID, to map[object.ID]bool) error {
	if tree.IsZero() {
		return nil
	}
	return r.difference(tree, object.ID{}, func(id object.ID) bool {
		if to[id] {
			return false
		}
		to[id] = true
		return true
	})
}
