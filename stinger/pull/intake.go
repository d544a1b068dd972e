package pull

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
)

// packHead is "PACK", the version and the number of objects, 4 bytes each.
const packHead = 12

// maxObjects bounds the objects of a pack, some 150 bytes of memory each: four for
// each path that a tree may have.
const maxObjects = 4 * maxPaths

// earlyMost is the size, in bytes, up to which a file is shown: some 40 wait in
// memory where the disk is slow.
const earlyMost = 256 << 10

// errDeltas means that a pack has differences, which intake does not resolve.
var errDeltas = errors.New("the pack has differences")

// intake keeps a pack as it comes, and reads it in the same go: it makes the
// pack's index, and shows the files in it to whom it may concern. It takes in packs
// of whole objects, as a hub sends what was pushed to it by the plugin; go-git's
// parser takes in all others, at twice the cost and with two looks at each object.
type intake struct {
	raw     *rawReader
	z       io.ReadCloser
	id      hash.Hash // of an object
	content bytes.Buffer
	index   idxfile.Writer
	// file, where set, gets the content of each file of at most earlyMost bytes.
	file func(plumbing.Hash, []byte)
}

// keep reads a pack into a file and returns its id and index; errDeltas where it
// is all in the file and needs another reader.
func keep(r io.Reader, to io.Writer, file func(plumbing.Hash, []byte)) (plumbing.Hash, *idxfile.MemoryIndex, error) {
	in := &intake{raw: newRawReader(r, to), id: sha1.New(), file: file}
	n, err := in.head()
	deltas := false
	for i := uint32(0); i < n && err == nil; i++ {
		err = in.object()
		if errors.Is(err, errDeltas) {
			deltas, err = true, nil
		}
	}
	var id plumbing.Hash
	if err == nil {
		id, err = in.raw.end()
	}
	switch {
	case err != nil:
		return plumbing.ZeroHash, nil, err
	case deltas:
		return id, nil, errDeltas
	}
	if err := in.index.OnFooter(id); err != nil {
		return id, nil, err
	}
	index, err := in.index.Index()
	return id, index, err
}

func (in *intake) head() (objects uint32, err error) {
	var head [packHead]byte
	if _, err := io.ReadFull(in.raw, head[:]); err != nil {
		return 0, unexpected(err)
	}
	if string(head[:4]) != "PACK" || binary.BigEndian.Uint32(head[4:]) != 2 {
		return 0, fmt.Errorf("the pack begins with %q: want PACK, version 2", head[:8])
	}
	return objectsIn(head[:])
}

// objectsIn returns how many objects a pack's head says that it has.
func objectsIn(head []byte) (uint32, error) {
	n := binary.BigEndian.Uint32(head[8:])
	if n > maxObjects {
		return 0, fmt.Errorf("the pack has %d objects: at most %d are allowed", n, maxObjects)
	}
	return n, nil
}

// object reads one object and notes it.
func (in *intake) object() error {
	at := in.raw.begin()
	kind, size, err := in.objectHead()
	if err != nil {
		return err
	}
	if err := in.skipBase(kind); err != nil {
		return err
	}
	if in.z == nil {
		in.z, err = zlib.NewReader(in.raw)
	} else {
		err = in.z.(zlib.Resetter).Reset(in.raw, nil)
	}
	if err != nil {
		return unexpected(err)
	}
	if kind.IsDelta() {
		if err := in.copy(io.Discard, size); err != nil {
			return err
		}
		return errDeltas
	}
	in.id.Reset()
	in.id.Write(strconv.AppendInt(append(kind.Bytes(), ' '), size, 10))
	in.id.Write([]byte{0})
	shown := in.file != nil && kind == plumbing.BlobObject && size <= earlyMost
	to := io.Writer(in.id)
	if shown {
		in.content.Reset()
		to = io.MultiWriter(in.id, &in.content)
	}
	if err := in.copy(to, size); err != nil {
		return err
	}
	var id plumbing.Hash
	in.id.Sum(id[:0])
	in.index.Add(id, uint64(at), in.raw.check())
	if shown {
		in.file(id, in.content.Bytes())
	}
	return nil
}

// objectHead reads the type and size of an object: 3 bits of type and 4 of size,
// then 7 of size a byte, the low ones first.
func (in *intake) objectHead() (kind plumbing.ObjectType, size int64, err error) {
	c, err := in.raw.ReadByte()
	if err != nil {
		return 0, 0, unexpected(err)
	}
	kind, size = plumbing.ObjectType(c>>4&7), int64(c&0x0f)
	for shift := 4; c&0x80 != 0; shift += 7 {
		if shift > 53 { // beyond the size of any file
			return 0, 0, errors.New("an object's size has too many bytes")
		}
		if c, err = in.raw.ReadByte(); err != nil {
			return 0, 0, unexpected(err)
		}
		size |= int64(c&0x7f) << shift
	}
	if !kind.Valid() {
		return 0, 0, fmt.Errorf("an object has the type %d, which there is not", kind)
	}
	return kind, size, nil
}

// skipBase reads what a difference is to.
func (in *intake) skipBase(kind plumbing.ObjectType) error {
	switch kind {
	case plumbing.REFDeltaObject:
		_, err := io.CopyN(io.Discard, in.raw, int64(len(plumbing.ZeroHash)))
		return unexpected(err)
	case plumbing.OFSDeltaObject:
		for {
			if c, err := in.raw.ReadByte(); err != nil || c&0x80 == 0 {
				return unexpected(err)
			}
		}
	}
	return nil
}

// copy inflates an object of exactly that size.
func (in *intake) copy(to io.Writer, size int64) error {
	n, err := io.Copy(to, io.LimitReader(in.z, size))
	if err == nil && n == size {
		// The end of the stream, with its checksum, comes with one more read.
		var more [1]byte
		if _, err = io.ReadFull(in.z, more[:]); err == io.EOF {
			return nil
		}
		if err == nil {
			err = errors.New("there is more")
		}
	}
	if err == nil {
		err = fmt.Errorf("there are %d", n)
	}
	return fmt.Errorf("an object of %d bytes: %w", size, unexpected(err))
}

// unexpected is err, where an end of the pack is meant.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// rawReader reads a pack, copies what is read, and has the checksums of the whole
// and of an object.
type rawReader struct {
	r       *bufio.Reader
	to      io.Writer
	read    int64 // bytes consumed
	sum     hash.Hash
	crc     uint32
	pending []byte // consumed, and not yet copied
	err     error  // of a copy
}

// pendingMost is how much is copied at once.
const pendingMost = 32 << 10

func newRawReader(r io.Reader, to io.Writer) *rawReader {
	return &rawReader{r: bufio.NewReaderSize(r, 64<<10), to: to, sum: sha1.New(), pending: make([]byte, 0, pendingMost)}
}

// begin begins an object and returns where it is.
func (w *rawReader) begin() int64 {
	w.flush()
	w.crc = 0
	return w.read
}

// check returns the CRC32 since begin.
func (w *rawReader) check() uint32 {
	w.flush()
	return w.crc
}

func (w *rawReader) flush() {
	w.crc = crc32.Update(w.crc, crc32.IEEETable, w.pending)
	w.sum.Write(w.pending)
	if _, err := w.to.Write(w.pending); w.err == nil {
		w.err = err
	}
	w.pending = w.pending[:0]
}

// ReadByte is what a decompressor asks for that must not read too far.
func (w *rawReader) ReadByte() (byte, error) {
	c, err := w.r.ReadByte()
	if err != nil {
		return 0, err
	}
	w.read++
	if w.pending = append(w.pending, c); len(w.pending) == pendingMost {
		w.flush()
	}
	return c, w.err
}

func (w *rawReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p[:min(len(p), pendingMost)])
	w.read += int64(n)
	if len(w.pending)+n > pendingMost {
		w.flush()
	}
	if w.pending = append(w.pending, p[:n]...); err == nil {
		err = w.err
	}
	return n, err
}

// end reads the pack's own checksum, which names it, and sees that it is right and
// that nothing follows.
func (w *rawReader) end() (id plumbing.Hash, err error) {
	w.flush()
	want := plumbing.Hash(w.sum.Sum(nil))
	if _, err := io.ReadFull(w, id[:]); err != nil {
		return id, unexpected(err)
	}
	w.flush()
	if id != want {
		return id, fmt.Errorf("the pack's checksum is %s, it says %s", want, id)
	}
	if _, err := w.r.ReadByte(); err != io.EOF {
		return id, errors.Join(errors.New("something follows the pack"), err)
	}
	return id, w.err
}

// keepPack takes in a pack that is whole without others.
func (s *store) keepPack(r io.Reader, file func(plumbing.Hash, []byte)) (id string, err error) {
	dir := filepath.Join(s.dir, "objects", "pack")
	f, err := os.CreateTemp(dir, "tmp_pack_*")
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash, index, err := keep(r, f, file)
	if errors.Is(err, errDeltas) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		defer os.Remove(f.Name())
		return s.addPack(f)
	}
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "pack-"+hash.String())
	// The index first: a pack counts from when it has its name. The same pack may be
	// here, and in use.
	if err := writeIndex(f.Name()+".idx", index); err != nil {
		return "", err
	}
	if err := os.Rename(f.Name()+".idx", path+".idx"); err != nil {
		return "", err
	}
	if err := f.Close(); err != nil { // some disks say only now that they are full
		return "", err
	}
	return hash.String(), os.Rename(f.Name(), path+".pack")
}

func writeIndex(path string, index *idxfile.MemoryIndex) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	_, err = idxfile.NewEncoder(w).Encode(index)
	return errors.Join(err, w.Flush(), f.Close())
}
