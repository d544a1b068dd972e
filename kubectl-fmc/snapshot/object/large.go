package object

import (
	"bufio"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const largePrefix = "writing-"

// ErrSize is the error of PutLarge for a reader that ended early.
var ErrSize = errors.New("content is shorter than its size")

// PutLarge adds a blob of exactly size bytes that it reads once, as a stream,
// into a segment of its own. done is asked before the object counts; its error
// leaves nothing behind.
func (s *Store) PutLarge(r io.Reader, size int64, done func() error) (ID, error) {
	f, err := os.CreateTemp(s.dir, largePrefix+"*")
	if err != nil {
		return ID{}, fmt.Errorf("adding to the object store: %w", err)
	}
	id, end, err := writeLarge(f, r, size)
	if err == nil {
		err = done()
	}
	if err == nil && s.Has(id) {
		f.Close()
		return id, os.Remove(f.Name())
	}
	path := filepath.Join(s.dir, id.String()+Suffix)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return ID{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := &segment{file: f, end: end, alone: true}
	s.segments[seg] = true
	s.objects[id] = location{seg, int64(recordHead), end - int64(recordHead)}
	s.bytes += end
	return id, nil
}

// aloneIn reports whether PutLarge has named the segment: after its object.
func aloneIn(path string) bool {
	_, err := ParseID(strings.TrimSuffix(filepath.Base(path), Suffix))
	return err == nil
}

// writeLarge writes the record of one blob to f and returns where it ends. The
// record's head is known last.
func writeLarge(f *os.File, r io.Reader, size int64) (id ID, end int64, err error) {
	if _, err := f.Seek(int64(recordHead), io.SeekStart); err != nil {
		return ID{}, 0, fmt.Errorf("adding to the object store: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<17)
	if _, err := w.Write(entryHead(Blob, size)); err != nil {
		return ID{}, 0, fmt.Errorf("adding to the object store: %w", err)
	}
	z, _ := zlib.NewWriterLevel(w, zlib.BestSpeed) // the level is valid
	h := startHash(Blob, size)
	n, err := io.CopyBuffer(io.MultiWriter(h, z), io.LimitReader(r, size), make([]byte, 1<<17))
	if err != nil {
		return ID{}, 0, err
	}
	if n != size {
		return ID{}, 0, ErrSize
	}
	if err := errors.Join(z.Close(), w.Flush()); err != nil {
		return ID{}, 0, fmt.Errorf("adding to the object store: %w", err)
	}
	if end, err = f.Seek(0, io.SeekCurrent); err != nil {
		return ID{}, 0, fmt.Errorf("adding to the object store: %w", err)
	}
	h.Sum(id[:0])
	if _, err := f.WriteAt(appendHead(nil, id, end-int64(recordHead)), 0); err != nil {
		return ID{}, 0, fmt.Errorf("adding to the object store: %w", err)
	}
	return id, end, nil
}
