package pull

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// incoming is the directory, in the service's, of files that are written while
// their pack is still on its way. It is empty and gone after each pull.
const incoming = tempPrefix + "incoming"

// early writes the files of a large pack while the pack comes, under numbers, so
// that the applier has little more to do than to rename them: each is inflated
// once, and the network, the decompressor and the disk work at the same time.
// Which of them the working tree lacks, and where, is not known yet; nearly all of
// a pack is.
//
// It is an advance, and no more: what fails here, or is not here, the applier does,
// and reports.
type early struct {
	app     *os.Root
	workers int
	// most bounds what is written, in bytes of the disk: a pack can have a thousand
	// times its size in files, and files that no tree has.
	most int64

	dir     *os.Root // nil while nothing is begun
	queue   chan earlyFile
	writing sync.WaitGroup

	mu    sync.Mutex
	files map[plumbing.Hash]string // by content; paths in app, "" until written
	count int
	used  int64 // of most
	full  bool  // a write failed
}

// block is what a file takes of a disk at least.
const block = 4096

type earlyFile struct {
	hash    plumbing.Hash
	content []byte
}

// begin returns what is to be called with each file of a pack.
func (e *early) begin() (func(plumbing.Hash, []byte), error) {
	if err := e.discard(); err != nil {
		return nil, err
	}
	if err := e.app.Mkdir(incoming, 0o755); err != nil {
		return nil, err
	}
	var err error
	if e.dir, err = e.app.OpenRoot(incoming); err != nil {
		return nil, err
	}
	queue := make(chan earlyFile, 4*e.workers) // what waits is in memory
	e.queue, e.files = queue, map[plumbing.Hash]string{}
	for range e.workers {
		e.writing.Go(func() {
			for f := range queue {
				e.write(f)
			}
		})
	}
	return e.add, nil
}

func (e *early) add(hash plumbing.Hash, content []byte) {
	size := (int64(len(content)) + block) / block * block
	e.mu.Lock()
	_, twice := e.files[hash]
	wanted := !e.full && !twice && e.used+size <= e.most
	if wanted {
		e.files[hash] = ""
		e.used += size
	}
	e.mu.Unlock()
	if wanted {
		e.queue <- earlyFile{hash, append([]byte(nil), content...)}
	}
}

func (e *early) write(f earlyFile) {
	e.mu.Lock()
	e.count++
	name := strconv.Itoa(e.count)
	e.mu.Unlock()
	to, err := e.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		_, err = to.Write(f.content)
		err = errors.Join(err, to.Close())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.full = true
		return
	}
	e.files[f.hash] = incoming + "/" + name
}

// finish waits until all is written. Where the disk was full nothing stays, so that
// the applier has the room that there is.
func (e *early) finish() {
	e.drain()
	if e.full {
		_ = e.discard() // which comes again
	}
}

// drain waits until what was added is written.
func (e *early) drain() {
	if e.queue != nil {
		close(e.queue)
		e.queue = nil
		e.writing.Wait()
	}
}

// take gives away the file of that content; "" where there is none.
func (e *early) take(hash plumbing.Hash) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	path := e.files[hash]
	delete(e.files, hash)
	return path
}

// discard removes what nobody took, also of a process that died.
func (e *early) discard() error {
	e.drain()
	if e.dir != nil {
		_ = e.dir.Close()
	}
	e.dir, e.files, e.count, e.used, e.full = nil, nil, 0, 0, false
	// A read-only file system refuses to remove what is not there.
	if _, err := e.app.Lstat(incoming); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := e.app.RemoveAll(incoming); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// showFiles begins an early writing of files, where it is likely that they are
// needed: before the first pull they may all be here, from the image.
func (p *Puller) showFiles() func(plumbing.Hash, []byte) {
	if p.applied.Commit == "" && !isEmpty(p.root) {
		return nil
	}
	file, err := p.early.begin()
	if err != nil {
		p.log.Warn("files are written only when all have come", "error", err)
		return nil
	}
	return file
}

// dropEarly ends the early writing. What cannot be removed is in nobody's way.
func (p *Puller) dropEarly() {
	if err := p.early.discard(); err != nil {
		p.log.Warn("files that were written early stay", "error", err)
	}
}

// isEmpty reports whether a directory has nothing in it.
func isEmpty(root *os.Root) bool {
	f, err := root.Open(".")
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	return errors.Is(err, io.EOF)
}
