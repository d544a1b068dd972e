package quick

import (
	"bytes"
	"compress/zlib"
	"crypto/rand"
	"crypto/sha1" // what git's packs end with
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
)

const (
	// maxObjects is far more than the files of a save and their directories.
	maxObjects = 4096
	// maxContent bounds what a pack unpacks to, in memory.
	maxContent = 16 << 20
)

// object is one of a pack.
type object struct {
	kind    plumbing.ObjectType
	content []byte
	seen    bool // the check came by it
}

// pack is a whole pack without deltas.
type pack struct {
	raw     []byte
	sum     plumbing.Hash // its last bytes
	objects map[plumbing.Hash]*object
	index   *idxfile.Writer
}

// headSize is that of "PACK", the version and the number of objects.
const headSize = 12

// parsePack parses and checks a pack. Its errors are ErrDoubt.
func parsePack(raw []byte) (*pack, error) {
	end := len(raw) - sha1.Size
	if end < headSize || !bytes.HasPrefix(raw, []byte("PACK\x00\x00\x00\x02")) {
		return nil, fmt.Errorf("%w: it is no pack of version 2", ErrDoubt)
	}
	p := &pack{raw: raw, objects: map[plumbing.Hash]*object{}, index: new(idxfile.Writer)}
	copy(p.sum[:], raw[end:])
	if sha1.Sum(raw[:end]) != p.sum {
		return nil, fmt.Errorf("%w: the pack's checksum is wrong", ErrDoubt)
	}
	n := binary.BigEndian.Uint32(raw[8:])
	if n > maxObjects {
		return nil, fmt.Errorf("%w: the pack has %d objects", ErrDoubt, n)
	}
	if err := p.index.OnHeader(n); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDoubt, err)
	}
	at, room := headSize, maxContent
	for range n {
		o, size, err := readObject(raw[at:end], room)
		if err != nil {
			return nil, fmt.Errorf("%w: the pack's object at %d: %w", ErrDoubt, at, err)
		}
		id := plumbing.ComputeHash(o.kind, o.content)
		if p.objects[id] != nil {
			return nil, fmt.Errorf("%w: the pack has an object twice", ErrDoubt)
		}
		p.objects[id] = o
		p.index.Add(id, uint64(at), crc32.ChecksumIEEE(raw[at:at+size]))
		at += size
		room -= len(o.content)
	}
	if at != end {
		return nil, fmt.Errorf("%w: the pack has more than its objects", ErrDoubt)
	}
	if err := p.index.OnFooter(p.sum); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDoubt, err)
	}
	return p, nil
}

// readObject reads the object at the start of raw and returns its size there.
func readObject(raw []byte, room int) (*object, int, error) {
	if len(raw) == 0 {
		return nil, 0, io.ErrUnexpectedEOF
	}
	// Three bits of type, and the length: four bits, then seven a byte, the
	// lowest first.
	kind, length := plumbing.ObjectType(raw[0]>>4&7), uint64(raw[0]&15)
	at := 1
	for shift := 4; raw[at-1]&0x80 != 0; shift += 7 {
		if at == len(raw) || shift > 32 {
			return nil, 0, errors.New("its length does not end")
		}
		length |= uint64(raw[at]&0x7f) << shift
		at++
	}
	switch kind {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject:
	default:
		return nil, 0, fmt.Errorf("it is of type %d", kind)
	}
	if length > uint64(room) {
		return nil, 0, fmt.Errorf("it has %d bytes", length)
	}
	source := bytes.NewReader(raw[at:]) // an io.ByteReader: no byte too many is read
	unpacked, err := zlib.NewReader(source)
	if err != nil {
		return nil, 0, err
	}
	content := make([]byte, length)
	if _, err := io.ReadFull(unpacked, content); err != nil {
		return nil, 0, err
	}
	// The end has the checksum, and nothing may come before it.
	if n, err := unpacked.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, 0, errors.New("it is longer than it says, or damaged")
	}
	return &object{kind: kind, content: content}, len(raw) - source.Len(), nil
}

// write puts the pack and its index into a directory of packs, the index last:
// it is what git looks for.
func (p *pack) write(root *os.Root, dir string) error {
	index, err := p.index.Index()
	if err != nil {
		return fmt.Errorf("indexing a pack: %w", err)
	}
	var encoded bytes.Buffer
	if _, err := idxfile.NewEncoder(&encoded).Encode(index); err != nil {
		return fmt.Errorf("indexing a pack: %w", err)
	}
	name := dir + "/pack-" + hex.EncodeToString(p.sum[:])
	// Under a name that git takes for a left-over.
	temporary := dir + "/tmp_quick_" + rand.Text()
	if err := place(root, temporary, name+".pack", p.raw); err != nil {
		return err
	}
	return place(root, temporary, name+".idx", encoded.Bytes())
}

// place writes a file beside its place and renames it into it.
func place(root *os.Root, temporary, path string, data []byte) error {
	file, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return fmt.Errorf("storing a pack: %w", err)
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err == nil {
		err = root.Rename(temporary, path)
	}
	if err != nil {
		root.Remove(temporary)
		return fmt.Errorf("storing a pack: %w", err)
	}
	return nil
}
