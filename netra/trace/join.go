package trace

import (
	"sync"
	"time"
)

// Link says how an outbound request's parent was found.
type Link string

// The links, values of the tag netra.link and of netra_links_total.
const (
	LinkHeaders   Link = "headers"    // trace headers of the request
	LinkRequestID Link = "request-id" // the request id of an inbound request
	LinkInferred  Link = "inferred"   // the only inbound request in flight
	LinkAmbiguous Link = "ambiguous"  // there are several: a root
	LinkNone      Link = "none"       // there is none: a root
)

// flights is the set of inbound requests in flight.
type flights struct {
	mu    sync.Mutex
	first *flight
	count int
	// last is when one that cannot be seen was last active.
	last time.Time
}

// flight is one inbound request in flight. One without a valid context (an
// ignored path, a probe) counts, but nothing is joined to it.
type flight struct {
	context    Context
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

func (s *flights) end(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

// infer returns the only request in flight, unless another one may be unseen
// that was active less than keep ago.
func (s *flights) infer(now time.Time, keep time.Duration) (Context, Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unseen := !s.last.IsZero() && now.Sub(s.last) < keep
	switch {
	case s.count == 0:
		return Context{}, LinkNone
	case s.count > 1 || unseen:
		return Context{}, LinkAmbiguous
	case !s.first.context.Valid():
		return Context{}, LinkNone
	}
	return s.first.context, LinkInferred
}

// maxContexts bounds the table of request ids; at the default expiration it
// holds the requests of 800 requests per second.
const maxContexts = 4096

// maxRequestID bounds a request id that is used as a key. Longer ones do not
// join; they pass as they are.
const maxRequestID = 128

// contexts remembers the contexts of inbound requests by their request id: while
// they are in flight and for keep after that, the least recently used being
// forgotten first.
type contexts struct {
	mu    sync.Mutex
	byID  map[string]*known
	front *known // most recently used
	back  *known
	keep  time.Duration
}

type known struct {
	id         string
	context    Context
	flying     int  // requests in flight with this id
	mixed      bool // they belong to different traces
	expires    time.Time
	prev, next *known
}

func (c *contexts) begin(id string, ctx Context) {
	if id == "" || len(id) > maxRequestID {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.byID[id]
	if k == nil {
		if c.byID == nil {
			c.byID = map[string]*known{}
		}
		if len(c.byID) >= maxContexts {
			c.remove(c.back)
		}
		k = &known{id: id}
		c.byID[id] = k
	} else {
		k.mixed = k.flying > 0 && (k.mixed || !k.context.sameTrace(ctx))
		c.unlink(k)
	}
	k.context = ctx
	k.flying++
	c.push(k)
}

func (c *contexts) end(id string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.byID[id]; k != nil && k.flying > 0 {
		k.flying--
		k.expires = now.Add(c.keep)
	}
}

// find returns the context of the inbound request with this id. Where requests
// of several traces have it, which one is meant cannot be told.
func (c *contexts) find(id string, now time.Time) (ctx Context, mixed, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.byID[id]
	if k == nil || k.expired(now) {
		return Context{}, false, false
	}
	c.unlink(k)
	c.push(k)
	return k.context, k.mixed, true
}

func (c *contexts) clean(now time.Time) {
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

func (k *known) expired(now time.Time) bool { return k.flying == 0 && !now.Before(k.expires) }

func (c *contexts) push(k *known) {
	k.prev, k.next = nil, c.front
	if c.front != nil {
		c.front.prev = k
	}
	c.front = k
	if c.back == nil {
		c.back = k
	}
}

func (c *contexts) unlink(k *known) {
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

func (c *contexts) remove(k *known) {
	c.unlink(k)
	delete(c.byID, k.id)
}
