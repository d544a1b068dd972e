package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

// Names in a Repo's cache directory, beside the object store's.
const (
	indexName = "index"
	headName  = "head"
)

// indexMark opens an index file; its number changes with the format.
const indexMark = "formicarium index 1\n"

// saveIndex writes what is known of all files, for the next run.
func (r *Repo) saveIndex() error {
	b := append(make([]byte, 0, 64*r.root.files+64), indexMark...)
	b = appendDirectory(b, r.root)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return replaceFile(filepath.Join(r.cache, indexName), b)
}

func appendDirectory(b []byte, d *directory) []byte {
	b = binary.AppendUvarint(b, uint64(len(d.entries)))
	for _, e := range d.entries {
		b = binary.AppendUvarint(b, uint64(len(e.name)))
		b = append(b, e.name...)
		b = binary.AppendUvarint(b, uint64(e.mode))
		if e.sub != nil {
			b = appendDirectory(b, e.sub)
			continue
		}
		b = append(b, e.id[:]...)
		b = binary.AppendUvarint(b, uint64(e.stat.size))
		b = binary.AppendVarint(b, e.stat.mtime)
		b = binary.AppendVarint(b, e.stat.ctime)
		b = binary.AppendUvarint(b, e.stat.inode)
		racy := byte(0)
		if e.racy {
			racy = 1
		}
		b = append(b, racy)
	}
	return b
}

// readIndex reads what an earlier run knew; ok is false where there is none
// or it is damaged.
func readIndex(name string) (root *directory, ok bool) {
	b, err := os.ReadFile(name)
	if err != nil || len(b) < len(indexMark)+4 || !strings.HasPrefix(string(b[:len(indexMark)]), indexMark) {
		return nil, false
	}
	body, sum := b[:len(b)-4], b[len(b)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return nil, false
	}
	in := &indexReader{b: body[len(indexMark):]}
	root = in.directory(nil)
	return root, in.err == nil
}

// indexReader decodes an index file; after an error all is zero.
type indexReader struct {
	b   []byte
	err error
}

var errIndex = errors.New("damaged index")

func (r *indexReader) directory(parent *directory) *directory {
	d := &directory{parent: parent}
	for n := r.uint(); n > 0 && r.err == nil; n-- {
		e := &entry{name: string(r.bytes(r.uint())), mode: object.Mode(r.uint())}
		d.entries = append(d.entries, e)
		if e.mode == object.ModeDir {
			e.sub = r.directory(d)
			continue
		}
		copy(e.id[:], r.bytes(uint64(len(e.id))))
		e.stat = stat{size: int64(r.uint()), mtime: r.int(), ctime: r.int(), inode: r.uint()}
		e.racy = bytes.Equal(r.bytes(1), []byte{1})
	}
	return d
}

func (r *indexReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *indexReader) int() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *indexReader) skip(n int) {
	if n <= 0 {
		r.err, r.b = errIndex, nil
		return
	}
	r.b = r.b[n:]
}

func (r *indexReader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.err, r.b = errIndex, nil
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

// head is the last commit that a hub acknowledged.
type head struct {
	Commit, Tree object.ID
}

func readHead(name string) (h head) {
	b, err := os.ReadFile(name)
	if err != nil {
		return head{}
	}
	commit, tree, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	if h.Commit, err = object.ParseID(commit); err != nil {
		return head{}
	}
	if h.Tree, err = object.ParseID(tree); err != nil {
		return head{}
	}
	return h
}

func (h head) write(name string) error {
	return replaceFile(name, fmt.Appendf(nil, "%s %s\n", h.Commit, h.Tree))
}

// replaceFile writes a file beside the old one and renames it into place.
func replaceFile(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("writing the snapshot cache: %w", err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("writing the snapshot cache: %w", err)
	}
	return nil
}

// maxGrowth is by how many bytes the store may grow before old objects are
// looked for, which takes time in proportion to all files.
const maxGrowth = 64 << 20

// compact drops what neither the last snapshot nor the hub's holds.
func (r *Repo) compact() error {
	const manySegments = 32
	if r.store.Size() < r.grown+maxGrowth && r.store.Segments() < manySegments {
		return nil
	}
	live := map[object.ID]bool{r.last.Commit: true, r.head.Commit: true}
	for _, tree := range []object.ID{r.last.Tree, r.head.Tree} {
		// A tree of the hub's that is not all here is of no use.
		if err := r.reachable(tree, live); err != nil && tree == r.last.Tree {
			return err
		}
	}
	err := r.store.Compact(live)
	r.grown = r.store.Size()
	return err
}
