package pull

import (
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// looseWriter takes in the objects of a pack and writes each to a file, several
// at a time. It is a store without a pack writer, so that the parser of a pack
// gives it single objects: the pack itself may be incomplete.
type looseWriter struct {
	storer.EncodedObjectStorer // what is here already

	queue   chan plumbing.EncodedObject
	writing sync.WaitGroup

	mu      sync.Mutex
	pending map[plumbing.Hash]plumbing.EncodedObject // not yet written
	err     error
}

// newLooseWriter returns a writer over a store; every writing goroutine gets a
// store of its own from open, since one store is not for several.
func newLooseWriter(here storer.EncodedObjectStorer, open func() storer.EncodedObjectStorer) *looseWriter {
	l := &looseWriter{
		EncodedObjectStorer: here,
		// What waits is in memory.
		queue:   make(chan plumbing.EncodedObject, 4*writers),
		pending: map[plumbing.Hash]plumbing.EncodedObject{},
	}
	for range writers {
		l.writing.Go(func() {
			var s storer.EncodedObjectStorer
			for o := range l.queue {
				if s == nil { // mostly there are fewer objects than goroutines
					s = open()
				}
				l.write(s, o)
			}
		})
	}
	return l
}

func (l *looseWriter) write(s storer.EncodedObjectStorer, o plumbing.EncodedObject) {
	_, err := s.SetEncodedObject(o)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, o.Hash())
	if l.err == nil {
		l.err = err
	}
}

// SetEncodedObject has the object written.
func (l *looseWriter) SetEncodedObject(o plumbing.EncodedObject) (plumbing.Hash, error) {
	hash := o.Hash() // computed here, once, before others read it
	l.mu.Lock()
	l.pending[hash] = o
	err := l.err
	l.mu.Unlock()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	l.queue <- o
	return hash, nil
}

// EncodedObject returns an object that is here, or soon will be.
func (l *looseWriter) EncodedObject(t plumbing.ObjectType, hash plumbing.Hash) (plumbing.EncodedObject, error) {
	l.mu.Lock()
	o := l.pending[hash]
	l.mu.Unlock()
	if o != nil {
		return o, nil
	}
	return l.EncodedObjectStorer.EncodedObject(t, hash)
}

// close waits until all is written and returns what went wrong.
func (l *looseWriter) close() error {
	close(l.queue)
	l.writing.Wait()
	return l.err
}
