package object

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Encoder encodes objects as entries of a pack: type and size, then the
// deflated content. It is not for concurrent use.
type Encoder struct {
	buf bytes.Buffer
	z   *zlib.Writer
}

// NewEncoder returns an Encoder. It deflates at the fastest level: a save
// waits for it, and its bytes go a short way once.
func NewEncoder() *Encoder {
	e := &Encoder{}
	// The level is valid, so there is no error.
	e.z, _ = zlib.NewWriterLevel(&e.buf, zlib.BestSpeed)
	return e
}

// keepBuffer bounds what an Encoder holds between objects: above it the buffer
// of a large one is given back.
const keepBuffer = 1 << 20

// encode returns the pack entry of an object; it is valid until the next call.
func (e *Encoder) encode(kind Kind, content []byte) ([]byte, error) {
	if e.buf.Cap() > keepBuffer {
		e.buf = bytes.Buffer{}
	}
	e.buf.Reset()
	e.buf.Write(entryHead(kind, int64(len(content))))
	e.z.Reset(&e.buf)
	if _, err := e.z.Write(content); err != nil {
		return nil, fmt.Errorf("deflating an object: %w", err)
	}
	if err := e.z.Close(); err != nil {
		return nil, fmt.Errorf("deflating an object: %w", err)
	}
	return e.buf.Bytes(), nil
}

// entryHead returns the type and size with which a pack entry starts: 3 bits
// of type and 4 of size, then 7 of size a byte, the low ones first.
func entryHead(kind Kind, size int64) []byte {
	head := make([]byte, 0, binary.MaxVarintLen64)
	c := byte(kind)<<4 | byte(size&0x0f)
	for size >>= 4; size > 0; size >>= 7 {
		head = append(head, c|0x80)
		c = byte(size & 0x7f)
	}
	return append(head, c)
}

var errEntry = errors.New("malformed pack entry")

// decodeHead parses what entryHead made and returns its length.
func decodeHead(entry []byte) (kind Kind, size int64, n int, err error) {
	shift := 4
	for i, c := range entry {
		switch {
		case i == 0:
			kind, size = Kind(c>>4&7), int64(c&0x0f)
		case shift > 56:
			return 0, 0, 0, errEntry
		default:
			size |= int64(c&0x7f) << shift
			shift += 7
		}
		if c&0x80 == 0 {
			return kind, size, i + 1, nil
		}
	}
	return 0, 0, 0, errEntry
}

// decode inflates a pack entry.
func decode(entry []byte) (Kind, []byte, error) {
	kind, size, n, err := decodeHead(entry)
	if err != nil {
		return 0, nil, err
	}
	z, err := zlib.NewReader(bytes.NewReader(entry[n:]))
	if err != nil {
		return 0, nil, err
	}
	content := bytes.NewBuffer(make([]byte, 0, min(size, keepBuffer)+bytes.MinRead))
	if _, err := content.ReadFrom(io.LimitReader(z, size+1)); err != nil {
		return 0, nil, err
	}
	if int64(content.Len()) != size {
		return 0, nil, errEntry
	}
	return kind, content.Bytes(), nil
}
