package trace

import (
	"maps"
	"sync"
	"sync/atomic"
)

// lookup is a table that every request reads and that seldom grows. To read it
// takes no lock, and no memory where the key is still bytes; to add to it
// replaces the whole. Its zero value is empty.
type lookup[V any] struct {
	mu    sync.Mutex
	known atomic.Pointer[map[string]V]
}

func (l *lookup[V]) find(key []byte) (value V, ok bool) {
	if known := l.known.Load(); known != nil {
		value, ok = (*known)[string(key)]
	}
	return value, ok
}

// add adds what key stands for, unless it is there by now or there are limit
// others, and returns what is there.
func (l *lookup[V]) add(key string, value V, limit int) (there V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var known map[string]V
	if p := l.known.Load(); p != nil {
		known = *p
	}
	if there, ok = known[key]; ok || len(known) >= limit {
		return there, ok
	}
	next := make(map[string]V, len(known)+1)
	maps.Copy(next, known)
	next[key] = value
	l.known.Store(&next)
	return value, true
}

// full reports whether there are limit keys.
func (l *lookup[V]) full(limit int) bool {
	known := l.known.Load()
	return known != nil && len(*known) >= limit
}
