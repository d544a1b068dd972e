package pull

import (
	"sync"
	"sync/atomic"
)

// writers is how many files are made at a time. Making a file is mostly the
// kernel's work, and costs up to half a millisecond where the disk is the
// node's; from 8 on more brings nothing.
const writers = 8

// parallel calls each for 0 to n-1, as many as workers at a time, until one
// fails; it returns the first error.
func parallel(workers, n int, each func(i int) error) error {
	var next atomic.Int64
	var first atomic.Pointer[error]
	work := func() {
		for first.Load() == nil {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			if err := each(i); err != nil {
				first.CompareAndSwap(nil, &err)
			}
		}
	}
	if workers = min(workers, n); workers <= 1 {
		work()
	} else {
		var group sync.WaitGroup
		for range workers {
			group.Go(work)
		}
		group.Wait()
	}
	if err := first.Load(); err != nil {
		return *err
	}
	return nil
}
