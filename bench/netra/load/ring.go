package load

// ring is a queue of slots: first in, first out, so that all connections take
// turns.
type ring struct {
	items       []int
	first, size int
}

func newRing(capacity int) ring { return ring{items: make([]int, capacity)} }

func (r *ring) len() int { return r.size }

func (r *ring) push(i int) {
	r.items[(r.first+r.size)%len(r.items)] = i
	r.size++
}

func (r *ring) pop() int {
	i := r.items[r.first]
	r.first = (r.first + 1) % len(r.items)
	r.size--
	return i
}
