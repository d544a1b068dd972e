package object

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Compact keeps the objects in live and drops the others, where that frees at
// least half of the store or it has come to consist of many files. Segments in
// which everything is live stay as they are.
func (s *Store) Compact(live map[ID]bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	used, kept := map[*segment]int64{}, int64(0)
	for id, at := range s.objects {
		if live[id] {
			used[at.segment] += int64(recordHead) + at.size
			kept += int64(recordHead) + at.size
		}
	}
	const manySegments = 32
	if s.bytes <= 2*kept+compactAbove && s.joinable() <= manySegments {
		return nil
	}
	drop := map[*segment]bool{}
	for seg := range s.segments {
		// A large object in a segment of its own is not worth copying.
		if used[seg] < seg.end || !seg.alone && seg.end < compactAbove {
			drop[seg] = true
		}
	}
	s.current = nil
	for id, at := range s.objects {
		if !drop[at.segment] {
			continue
		}
		delete(s.objects, id)
		if !live[id] {
			continue
		}
		entry := make([]byte, at.size)
		if _, err := io.ReadFull(io.NewSectionReader(at.segment.file, at.offset, at.size), entry); err != nil {
			return fmt.Errorf("compacting the object store: %w", err)
		}
		if err := s.append(id, entry); err != nil {
			return err
		}
	}
	var errs []error
	for seg := range drop {
		errs = append(errs, seg.file.Close(), removeFile(seg.file.Name()))
		s.bytes -= seg.end
		delete(s.segments, seg)
	}
	return errors.Join(errs...)
}

// compactAbove is the waste, in bytes, that a store is left with: below it,
// copying costs more than the disk.
const compactAbove = 16 << 20

func removeFile(name string) error {
	if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
