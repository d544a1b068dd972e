package pull

import (
	"bytes"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
)

// kind is what a tree's entry is.
type kind uint8

const (
	kindFile kind = iota
	kindExecutable
	kindLink
	kindDir
	kindSubmodule
)

// entry is one name in a tree.
type entry struct {
	name string
	kind kind
	hash plumbing.Hash
}

// decodeTree reads a tree object and checks every name in it.
func decodeTree(data []byte) ([]entry, error) {
	var entries []entry
	seen := map[string]bool{}
	for len(data) > 0 {
		mode, rest, ok := bytes.Cut(data, []byte{' '})
		if !ok {
			return nil, fmt.Errorf("reading a tree: an entry has no mode")
		}
		name, rest, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(rest) < len(plumbing.Hash{}) {
			return nil, fmt.Errorf("reading a tree: it ends within an entry")
		}
		e := entry{name: string(name)}
		copy(e.hash[:], rest)
		data = rest[len(e.hash):]
		if err := checkName(e.name); err != nil {
			return nil, err
		}
		if seen[e.name] {
			return nil, fmt.Errorf("name %q is there twice", e.name)
		}
		seen[e.name] = true
		if e.kind, ok = kindOf(string(mode)); !ok {
			return nil, fmt.Errorf("%q has the unknown mode %q", e.name, mode)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// kindOf translates git's file modes; 100664 is one that old versions wrote.
func kindOf(mode string) (kind, bool) {
	switch mode {
	case "100644", "100664":
		return kindFile, true
	case "100755":
		return kindExecutable, true
	case "120000":
		return kindLink, true
	case "40000", "040000":
		return kindDir, true
	case "160000":
		return kindSubmodule, true
	}
	return 0, false
}

// decodeCommit returns the tree that a commit object names.
func decodeCommit(data []byte) (plumbing.Hash, error) {
	line, _, _ := bytes.Cut(data, []byte{'\n'})
	hex, ok := bytes.CutPrefix(line, []byte("tree "))
	if !ok || !plumbing.IsHash(string(hex)) {
		return plumbing.ZeroHash, fmt.Errorf("reading a commit: it names no tree")
	}
	return plumbing.NewHash(string(hex)), nil
}
