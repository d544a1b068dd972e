// Package object makes git objects and keeps them in a store of packed records
// that can be sent in a pack as they are.
//
//	store, err := object.OpenStore(dir)
//	enc := object.NewEncoder()
//	id, err := store.Put(enc, object.Blob, []byte("hello\n"))
//	tree, err := store.Put(enc, object.Tree, object.EncodeTree(entries))
package object

import (
	"bytes"
	"crypto/sha1" // what git's object names are
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ID names an object: the SHA-1 of its type, size and content.
type ID [sha1.Size]byte

// ParseID parses 40 hexadecimal digits.
func ParseID(text string) (id ID, err error) {
	if len(text) != 2*len(id) {
		return ID{}, fmt.Errorf("parsing object id %q: want %d hexadecimal digits", text, 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil {
		return ID{}, fmt.Errorf("parsing object id %q: %w", text, err)
	}
	return id, nil
}

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// Kind is an object's type, by its number in a pack.
type Kind byte

// The kinds of objects.
const (
	Commit Kind = 1
	Tree   Kind = 2
	Blob   Kind = 3
)

func (k Kind) String() string {
	switch k {
	case Commit:
		return "commit"
	case Tree:
		return "tree"
	case Blob:
		return "blob"
	}
	return "kind " + strconv.Itoa(int(k))
}

// startHash returns the hash that gives an object's id once its content is
// written to it.
func startHash(kind Kind, size int64) hash.Hash {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", kind, size)
	return h
}

// Hash returns the id of an object.
func Hash(kind Kind, content []byte) (id ID) {
	h := startHash(kind, int64(len(content)))
	h.Write(content)
	h.Sum(id[:0])
	return id
}

// Mode is the mode of an entry of a tree.
type Mode uint32

// The modes that snapshots use.
const (
	ModeDir        Mode = 0o040000
	ModeFile       Mode = 0o100644
	ModeExecutable Mode = 0o100755
	ModeLink       Mode = 0o120000
)

// Entry is one entry of a tree.
type Entry struct {
	Name string
	Mode Mode
	ID   ID
}

// EncodeTree returns the content of a tree. It puts entries in git's order.
func EncodeTree(entries []Entry) []byte {
	slices.SortFunc(entries, compareEntries)
	size := 0
	for _, e := range entries {
		size += len("100644 ") + len(e.Name) + 1 + len(e.ID)
	}
	content := make([]byte, 0, size)
	for _, e := range entries {
		content = strconv.AppendUint(content, uint64(e.Mode), 8)
		content = append(content, ' ')
		content = append(content, e.Name...)
		content = append(content, 0)
		content = append(content, e.ID[:]...)
	}
	return content
}

// compareEntries orders by name, a directory's taken as ending in '/'.
func compareEntries(a, b Entry) int {
	n := min(len(a.Name), len(b.Name))
	if c := strings.Compare(a.Name[:n], b.Name[:n]); c != 0 {
		return c
	}
	return int(after(a, n)) - int(after(b, n))
}

// after returns the byte that follows the first n of the entry's name.
func after(e Entry, n int) byte {
	switch {
	case n < len(e.Name):
		return e.Name[n]
	case e.Mode == ModeDir:
		return '/'
	}
	return 0
}

// DecodeTree is the inverse of EncodeTree.
func DecodeTree(content []byte) ([]Entry, error) {
	var entries []Entry
	for rest := content; len(rest) > 0; {
		head, tail, found := bytes.Cut(rest, []byte{0})
		mode, name, spaced := strings.Cut(string(head), " ")
		bits, err := strconv.ParseUint(mode, 8, 32)
		if !found || !spaced || err != nil || len(tail) < len(ID{}) {
			return nil, fmt.Errorf("decoding a tree: malformed at byte %d", len(content)-len(rest))
		}
		entries = append(entries, Entry{Name: name, Mode: Mode(bits), ID: ID(tail[:len(ID{})])})
		rest = tail[len(ID{}):]
	}
	return entries, nil
}

// Identity is who makes the commits of snapshots. It is the same for everybody:
// a snapshot tells nothing about its maker.
const Identity = "formicarium <snapshot@formicarium.io>"

// EncodeCommit returns the content of a commit; parent may be zero.
func EncodeCommit(tree, parent ID, at time.Time, message string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", tree)
	if !parent.IsZero() {
		fmt.Fprintf(&b, "parent %s\n", parent)
	}
	fmt.Fprintf(&b, "author %s %d +0000\ncommitter %s %d +0000\n\n%s\n", Identity, at.Unix(), Identity, at.Unix(), message)
	return b.Bytes()
}

// CommitTree returns the tree of a commit.
func CommitTree(content []byte) (ID, error) {
	line, _, _ := strings.Cut(string(content), "\n")
	text, found := strings.CutPrefix(line, "tree ")
	if !found {
		return ID{}, fmt.Errorf("decoding a commit: it starts with %q instead of its tree", line)
	}
	return ParseID(text)
}
