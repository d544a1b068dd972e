package trace

import (
	"bytes"
	"hash/maphash"
	"sync"
	"time"
)

// Link says how an outbound request's parent was found.
type Link string

// The links, values of the tag netra.link and of netra_links_total.
const (
	LinkHeaders   Link = "headers"    // trace headers of the request
	LinkRequestID Link = "request-id" // the request id of an inbound request
	LinkInferred  Link = "inferred"   // the only inbound request that it can be of
	LinkLikely    Link = "likely"     // the only one in flight; of another trace one was answered a moment ago
	LinkAmbiguous Link = "ambiguous"  // it can be of several: a root
	LinkNone      Link = "none"       // there is none: a root
)

// Inference says how sure netra must be to join an outbound request that has no
// header to an inbound one.
type Inference string

// The degrees of inference, from the most links to none.
const (
	InferLikely  Inference = "likely"  // inferred and likely links are made
	InferCertain Inference = "certain" // what would be likely is ambiguous, a root
	InferOff     Inference = "off"     // all are roots
)

// flights is the set of inbound requests in flight, and what it has to know of
// those that were.
type flights struct {
	mu    sync.Mutex
	first *flight
	count int
	// last is when one that cannot be seen was last active.
	last time.Time
	// answered is the last request that was answered; before it, the last of
	// any other trace. Whatever a request's own trace is, one of the two is the
	// last of another one.
	answered, before answered
}

// answered is a request that the application has answered: it may still be at
// work on it.
type answered struct {
	context Context // invalid where it was not traced: nobody knows whose it was
	at      time.Time
}

// flight is one inbound request in flight. One without a valid context (an
// ignored path, a probe) counts, but nothing is joined to it.
type flight struct {
	context    Context
	routes     routeList
	prev, next *flight
}

func (s *flights) begin(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.next = s.first
	if s.first != nil {
		s.first.prev = f
	}
	s.first = f
	s.count++
}

// end removes a request. An answered one is remembered for its trace.
func (s *flights) end(f *flight, wasAnswered bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wasAnswered {
		if !s.answered.context.same(f.context) {
			s.before = s.answered
		}
		s.answered = answered{f.context, now}
	}
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		s.first = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
	s.count--
}

func (s *flights) unseen(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = now
}

// infer returns the context of the request that an outbound one without a
// header is joined to; an invalid one where it is a root.
func (s *flights) infer(now time.Time, keep time.Duration, degree Inference) (Context, Link) {
	f, link, ok := s.only(now, keep, degree)
	switch {
	case !ok:
		return Context{}, link
	case !f.context.Valid():
		return Context{}, LinkNone
	}
	return f.context, link
}

// only returns a copy of the only request in flight, which may end meanwhile and
// its memory be another one's; not so where another one may be unseen that was
// active less than keep ago. It is likely, and no more, where one of another
// trace was answered less than keep ago. There is none where the degree asks for
// more.
func (s *flights) only(now time.Time, keep time.Duration, degree Inference) (f flight, link Link, ok bool) {
	if degree == InferOff {
		return f, LinkNone, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	recent := func(t time.Time) bool { return !t.IsZero() && now.Sub(t) < keep }
	switch {
	case s.count == 0:
		return f, LinkNone, false
	case s.count > 1 || recent(s.last):
		return f, LinkAmbiguous, false
	}
	other := s.answered
	if other.context.same(s.first.context) {
		other = s.before
	}
	switch {
	case !recent(other.at):
		return *s.first, LinkInferred, true
	case degree == InferCertain:
		return f, LinkAmbiguous, false
	}
	return *s.first, LinkLikely, true
}

// maxContexts bounds the table of request ids; at the default expiration it
// holds the requests of 800 requests per second.
const maxContexts = 4096

// maxRequestID bounds a request id that is used as a key. Longer ones do not
// join; they pass as they are.
const maxRequestID = 128

// contexts remembers the contexts of inbound requests by their request id.
type contexts = table[Context]

// joined is what a table gives to requests that are joined to another.
type joined[V any] interface {
	// same reports whether it does not matter which of both is meant.
	same(V) bool
	// size is how many bytes the value takes besides itself.
	size() int
}

// maxSizes bounds the bytes of a table's values.
const maxSizes = 1 << 20

// table remembers something of inbound requests by an id: while they are in
// flight and for keep after that, the least recently used being forgotten first.
type table[V joined[V]] struct {
	mu    sync.Mutex
	seed  maphash.Seed
	byID  map[uint64]*known[V] // by the id's hash, for keys of texts would be memory of their own
	front *known[V]            // most recently used
	back  *known[V]
	sizes int
	keep  time.Duration
}

type known[V any] struct {
	id         []byte
	hash       uint64
	turn       uint32 // counts the ids whose place this has been
	value      V
	flying     int  // requests in flight with this id
	mixed      bool // they have different values
	expires    time.Time
	prev, next *known[V]
}

// entry is a request's place in a table. The zero value is none.
type entry[V any] struct {
	known *known[V]
	turn  uint32
}

// begin remembers the value by the id, of which it keeps a copy, until the entry's
// end.
func (c *table[V]) begin(id []byte, value V) entry[V] {
	if len(id) == 0 || len(id) > maxRequestID {
		return entry[V]{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID, c.seed = map[uint64]*known[V]{}, maphash.MakeSeed()
	}
	k := c.get(id)
	if k == nil {
		k = c.add(id)
	} else {
		k.mixed = k.flying > 0 && (k.mixed || !k.value.same(value))
		c.sizes -= k.value.size()
		c.unlink(k)
	}
	k.value = value
	k.flying++
	for c.sizes += value.size(); c.sizes > maxSizes && c.back != nil; {
		c.remove(c.back)
	}
	c.push(k)
	return entry[V]{k, k.turn}
}

// get returns what is known of an id, nil where that is nothing.
func (c *table[V]) get(id []byte) *known[V] {
	if len(id) > maxRequestID || c.byID == nil {
		return nil
	}
	k := c.byID[maphash.Bytes(c.seed, id)]
	if k == nil || !bytes.Equal(k.id, id) {
		return nil
	}
	return k
}

// add makes room for an id. Where there are enough of them, that is the place of
// the least recently used; it is also that of another one with the same hash.
func (c *table[V]) add(id []byte) *known[V] {
	hash := maphash.Bytes(c.seed, id)
	k := c.byID[hash]
	if k == nil && len(c.byID) >= maxContexts {
		k = c.back
	}
	if k == nil {
		k = &known[V]{}
	} else {
		c.remove(k)
	}
	*k = known[V]{id: append(k.id[:0], id...), hash: hash, turn: k.turn + 1}
	c.byID[hash] = k
	return k
}

// end lets what an entry is of expire, unless the place is another id's by now.
func (c *table[V]) end(e entry[V], now time.Time) {
	if e.known == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := e.known; k.turn == e.turn && k.flying > 0 {
		k.flying--
		k.expires = now.Add(c.keep)
	}
}

// find returns what is known of the inbound request with this id. Where requests
// with different values have it, which one is meant cannot be told.
func (c *table[V]) find(id []byte, now time.Time) (value V, mixed, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.get(id)
	if k == nil || k.expired(now) {
		return value, false, false
	}
	c.unlink(k)
	c.push(k)
	return k.value, k.mixed, true
}

func (c *table[V]) clean(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := c.back; k != nil; {
		prev := k.prev
		if k.expired(now) {
			c.remove(k)
		}
		k = prev
	}
}

func (k *known[V]) expired(now time.Time) bool { return k.flying == 0 && !now.Before(k.expires) }

func (c *table[V]) push(k *known[V]) {
	k.prev, k.next = nil, c.front
	if c.front != nil {
		c.front.prev = k
	}
	c.front = k
	if c.back == nil {
		c.back = k
	}
}

func (c *table[V]) unlink(k *known[V]) {
	if k.prev != nil {
		k.prev.next = k.next
	} else {
		c.front = k.next
	}
	if k.next != nil {
		k.next.prev = k.prev
	} else {
		c.back = k.prev
	}
}

func (c *table[V]) remove(k *known[V]) {
	c.unlink(k)
	c.sizes -= k.value.size()
	delete(c.byID, k.hash)
}
