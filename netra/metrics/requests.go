package metrics

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Requests counts requests, how long they took and the bytes of their bodies,
// for each key. MaxPeers bounds the keys, at 20 for each peer.
type Requests struct {
	mu    sync.RWMutex
	known map[Request]*requests
}

type requests struct {
	duration Histogram // its count is that of the requests
	up, down atomic.Uint64
	labels   string // as they stand in the text
}

// Observe counts one request, which took d and had bodies of so many bytes.
func (r *Requests) Observe(key Request, d time.Duration, requestBytes, responseBytes int64) {
	r.mu.RLock()
	c := r.known[key]
	r.mu.RUnlock()
	if c == nil {
		c = r.add(key)
	}
	c.duration.Observe(d)
	c.up.Add(uint64(requestBytes))
	c.down.Add(uint64(responseBytes))
}

func (r *Requests) add(key Request) *requests {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.known[key]
	if c == nil {
		if r.known == nil {
			r.known = map[Request]*requests{}
		}
		c = &requests{labels: label("direction", key.Direction) + "," + label("peer", key.Peer) + "," + label("code", key.Code)}
		r.known[key] = c
	}
	return c
}

// Value returns how many requests the key has.
func (r *Requests) Value(key Request) (n uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if c := r.known[key]; c != nil {
		n = c.duration.count()
	}
	return n
}

// text writes all series, in the order of their labels.
func (r *Requests) text(b *bytes.Buffer) {
	r.mu.RLock()
	list := make([]*requests, 0, len(r.known))
	for _, c := range r.known {
		list = append(list, c)
	}
	r.mu.RUnlock()
	slices.SortFunc(list, func(a, b *requests) int { return strings.Compare(a.labels, b.labels) })

	head(b, "netra_requests_total", "counter", "HTTP requests by direction, peer service and status class.")
	for _, c := range list {
		sample(b, "netra_requests_total", c.labels, c.duration.count())
	}
	head(b, "netra_request_duration_seconds", "histogram", "From a request's head to the last byte of its response.")
	for _, c := range list {
		histogram(b, "netra_request_duration_seconds", c.labels, &c.duration)
	}
	head(b, "netra_body_bytes_total", "counter", "Bytes of requests' and responses' bodies, by who sent them: the client (request) or the server (response).")
	for _, c := range list {
		sample(b, "netra_body_bytes_total", c.labels+`,way="request"`, c.up.Load())
		sample(b, "netra_body_bytes_total", c.labels+`,way="response"`, c.down.Load())
	}
}
