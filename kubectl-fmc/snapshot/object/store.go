package object

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Store keeps objects in a directory, as records in files that only grow
// ("segments"). A process writes to a segment of its own, so several may use
// one directory; each sees what was there when it opened it, and what it wrote.
// A Store is for concurrent use.
type Store struct {
	dir string

	mu       sync.RWMutex
	objects  map[ID]location
	segments map[*segment]bool
	current  *segment
	bytes    int64 // of all records
}

type segment struct {
	file *os.File
	end  int64
	// alone is set where the segment holds one large object, which joining it
	// with others would only copy.
	alone bool
}

type location struct {
	segment *segment
	offset  int64 // of the pack entry
	size    int64
}

// A record is a mark, the object's id, the length of its pack entry, and the
// entry.
const (
	recordMark = 0xf7
	recordHead = 1 + len(ID{}) + 8
)

// Suffix ends the names of a store's files.
const Suffix = ".objects"

// orphanAge is how old a file that is still being written may be at most: an
// older one is what a process left that was killed.
const orphanAge = 24 * time.Hour

// OpenStore opens the store in dir, which it makes where it is not there. What
// a segment holds behind a damaged record is forgotten, not an error.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the object store: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the object store: %w", err)
	}
	s := &Store{dir: dir, objects: map[ID]location{}, segments: map[*segment]bool{}}
	for _, de := range names {
		path := filepath.Join(dir, de.Name())
		switch {
		case strings.HasSuffix(de.Name(), Suffix):
			if err := s.load(path); err != nil {
				s.Close()
				return nil, err
			}
		case strings.HasPrefix(de.Name(), largePrefix):
			if info, err := de.Info(); err == nil && time.Since(info.ModTime()) > orphanAge {
				os.Remove(path)
			}
		}
	}
	return s, nil
}

// load adds the records of one segment.
func (s *Store) load(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // another process has compacted the store meanwhile
	}
	if err != nil {
		return fmt.Errorf("opening the object store: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("opening the object store: %w", err)
	}
	seg := &segment{file: f}
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, info.Size()), 1<<16)
	var head [recordHead]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil || head[0] != recordMark {
			break
		}
		size := int64(binary.LittleEndian.Uint64(head[1+len(ID{}):]))
		offset := seg.end + int64(recordHead)
		if size <= 0 || size > info.Size()-offset {
			break
		}
		s.objects[ID(head[1:])] = location{seg, offset, size}
		s.bytes += int64(recordHead) + size
		seg.end = offset + size
		if size <= int64(r.Buffered()) {
			r.Discard(int(size))
		} else {
			r.Reset(io.NewSectionReader(f, seg.end, info.Size()-seg.end))
		}
	}
	seg.alone = aloneIn(path)
	s.segments[seg] = true
	return nil
}

// Close closes the store's files.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for seg := range s.segments {
		errs = append(errs, seg.file.Close())
	}
	s.objects, s.segments, s.current = map[ID]location{}, map[*segment]bool{}, nil
	return errors.Join(errs...)
}

// Has reports whether the store holds the object.
func (s *Store) Has(id ID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, found := s.objects[id]
	return found
}

// Size returns the bytes that the store takes on disk.
func (s *Store) Size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.bytes
}

// Segments returns how many files the store consists of that Compact can join:
// a large object's own is not among them, for a directory may have any number
// of large files.
func (s *Store) Segments() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.joinable()
}

// joinable is Segments. The caller holds mu.
func (s *Store) joinable() int {
	n := 0
	for seg := range s.segments {
		if !seg.alone {
			n++
		}
	}
	return n
}

// Put adds an object, unless it is there, and returns its id.
func (s *Store) Put(e *Encoder, kind Kind, content []byte) (ID, error) {
	id := Hash(kind, content)
	if s.Has(id) {
		return id, nil
	}
	entry, err := e.encode(kind, content)
	if err != nil {
		return ID{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return id, s.append(id, entry)
}

// append writes a record to the current segment. The caller holds mu.
func (s *Store) append(id ID, entry []byte) error {
	if _, found := s.objects[id]; found {
		return nil
	}
	if s.current == nil {
		f, err := os.CreateTemp(s.dir, "*"+Suffix)
		if err != nil {
			return fmt.Errorf("adding to the object store: %w", err)
		}
		s.current = &segment{file: f}
		s.segments[s.current] = true
	}
	seg := s.current
	record := make([]byte, 0, recordHead+len(entry))
	record = appendHead(record, id, int64(len(entry)))
	record = append(record, entry...)
	if _, err := seg.file.WriteAt(record, seg.end); err != nil {
		return fmt.Errorf("adding to the object store: %w", err)
	}
	s.objects[id] = location{seg, seg.end + int64(recordHead), int64(len(entry))}
	seg.end += int64(len(record))
	s.bytes += int64(len(record))
	return nil
}

func appendHead(b []byte, id ID, size int64) []byte {
	b = append(b, recordMark)
	b = append(b, id[:]...)
	return binary.LittleEndian.AppendUint64(b, uint64(size))
}

// ErrMissing is the error for an object that the store does not hold, and
// ErrDamaged the one for an object that is not what it should be.
var (
	ErrMissing = errors.New("object is not in the store")
	ErrDamaged = errors.New("object is damaged in the store")
)

// Entry returns the object's pack entry.
func (s *Store) Entry(id ID) (*io.SectionReader, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, found := s.objects[id]
	if !found {
		return nil, fmt.Errorf("reading object %s: %w", id, ErrMissing)
	}
	return io.NewSectionReader(at.segment.file, at.offset, at.size), nil
}

// Read returns an object. It is meant for trees and commits: the content is
// held in memory.
func (s *Store) Read(id ID, want Kind) ([]byte, error) {
	r, err := s.Entry(id)
	if err != nil {
		return nil, err
	}
	entry := make([]byte, r.Size())
	if _, err := io.ReadFull(r, entry); err != nil {
		return nil, fmt.Errorf("reading object %s: %w", id, err)
	}
	kind, content, err := decode(entry)
	if err != nil {
		return nil, fmt.Errorf("reading object %s: %w: %w", id, ErrDamaged, err)
	}
	if kind != want || Hash(kind, content) != id {
		return nil, fmt.Errorf("reading object %s: %w", id, ErrDamaged)
	}
	return content, nil
}
