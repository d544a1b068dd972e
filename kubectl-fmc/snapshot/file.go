package snapshot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

const (
	// largeFile is the size, in bytes, from which a file is streamed into the
	// store instead of being held in memory once per reader.
	largeFile = 8 << 20
	// maxReads bounds how often a file is read that changes under the reader:
	// with the pauses between, for about 60 ms.
	maxReads = 6
)

// errMoved tells that a file changed while it was read.
var errMoved = errors.New("it changed while it was read")

// disk is how a reader comes to files; a test may step in.
type disk struct {
	open  func(name string) (*os.File, error)
	lstat func(name string) (fs.FileInfo, error)
}

// reader reads files into the store. It is not for concurrent use.
type reader struct {
	store *object.Store
	enc   *object.Encoder
	disk  disk
	buf   []byte
}

// openAs opens the file that was seen as before. Another one that has taken its
// name meanwhile is errMoved: a symbolic link is not followed, and a named pipe
// not waited for.
func (r *reader) openAs(abs string, before fs.FileInfo) (*os.File, error) {
	f, err := r.disk.open(abs)
	if errors.Is(err, syscall.ELOOP) {
		return nil, errMoved
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	// The other one may have got the first one's inode.
	if err == nil && (!info.Mode().IsRegular() || !os.SameFile(before, info)) {
		err = errMoved
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func newReader(store *object.Store, from disk) *reader {
	return &reader{store: store, enc: object.NewEncoder(), disk: from}
}

// read reads the file or link at abs and returns it as an entry of that name,
// or nil where nothing, or no file, is there any more. A file that changes
// meanwhile is read again; one that never holds still is taken as it came, as
// racy, and the change that is under way brings it again.
//
// filled is set where the file had content when it was read last. One that is
// empty just now is looked at again, too: most editors truncate a file and then
// write it, and between the two it must not be taken for emptied.
func (r *reader) read(abs, rel, name string, filled bool) (*entry, error) {
	for try := 1; ; try++ {
		e, err := r.readOnce(abs, name, ownScript(rel), try == maxReads)
		if err == nil && filled && e != nil && e.emptied() && try < maxReads {
			err = errMoved
		}
		switch {
		case err == nil:
			return e, nil
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case !errors.Is(err, errMoved) || try == maxReads:
			return nil, fmt.Errorf("reading %q: %w%s", rel, cause(err), leaveOut)
		}
		time.Sleep(time.Millisecond << try)
	}
}

func (r *reader) readOnce(abs, name string, script, final bool) (*entry, error) {
	before, err := r.disk.lstat(abs)
	if err != nil {
		return nil, err
	}
	e := &entry{name: name, mode: modeOf(before), stat: newStat(before)}
	unmoved := func() error {
		now := time.Now()
		after, err := r.disk.lstat(abs)
		if err != nil {
			return err
		}
		// Asked twice it stays what it was first: the sooner after the reading,
		// the more of a clock's tick is left for a change that does not show.
		e.racy = e.racy || e.stat.racy(now) || newStat(after) != e.stat
		if !final && (newStat(after) != e.stat || after.Mode() != before.Mode()) {
			return errMoved
		}
		return nil
	}
	switch {
	case before.Mode()&fs.ModeSymlink != 0:
		err = r.readLink(abs, e, unmoved)
	case !before.Mode().IsRegular():
		return nil, nil
	case before.Size() >= largeFile:
		err = r.readLarge(abs, before, e, unmoved)
	default:
		err = r.readSmall(abs, before, e, script, unmoved)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (r *reader) readLink(abs string, e *entry, unmoved func() error) error {
	target, err := os.Readlink(abs)
	if err != nil {
		return err
	}
	if err := unmoved(); err != nil {
		return err
	}
	e.id, err = r.store.Put(r.enc, object.Blob, []byte(target))
	return err
}

func (r *reader) readSmall(abs string, before fs.FileInfo, e *entry, script bool, unmoved func() error) error {
	f, err := r.openAs(abs, before)
	if err != nil {
		return err
	}
	defer f.Close()
	// One byte more shows a file that has grown.
	if need := int(e.stat.size) + 1; cap(r.buf) < need {
		r.buf = make([]byte, need, need+need/4)
	}
	n, err := io.ReadFull(f, r.buf[:e.stat.size+1])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	if err := unmoved(); err != nil {
		return err
	}
	content := r.buf[:n]
	if e.script = script || isScript(content); e.script {
		content = unixLines(content)
	}
	if e.id, err = r.store.Put(r.enc, object.Blob, content); err != nil {
		return err
	}
	// To compress a few megabytes takes a tenth of a second, in which a writer
	// who stood still while they were read has gone on.
	if err := unmoved(); err != nil {
		return err
	}
	e.stat.size = int64(n)
	return nil
}

func (r *reader) readLarge(abs string, before fs.FileInfo, e *entry, unmoved func() error) error {
	f, err := r.openAs(abs, before)
	if err != nil {
		return err
	}
	defer f.Close()
	e.id, err = r.store.PutLarge(f, e.stat.size, unmoved)
	if errors.Is(err, object.ErrSize) {
		return errMoved
	}
	return err
}
