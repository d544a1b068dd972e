package pull

import (
	"runtime"
	"runtime/debug"
	"time"
)

// restAfter is how long after a pull memory is given back: it takes a few
// milliseconds, which should not be the next save's.
const restAfter = 2 * time.Second

// freeMemory gives back what pulls took. Taking in a pack needs memory in its
// proportion, and the runtime would keep most of it until there is more to do,
// which in a pod at rest there is not; a pod's limit is better spent on the
// service.
func (p *Puller) freeMemory() {
	if !p.freeing.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(restAfter, func() {
		p.freeing.Store(false)
		p.mu.Lock()
		p.store.cache.Clear() // mostly of files, which are in the working tree now
		p.mu.Unlock()
		// What a sync.Pool holds outlives one collection, and go-git has large
		// buffers in several.
		runtime.GC()
		debug.FreeOSMemory()
	})
}
