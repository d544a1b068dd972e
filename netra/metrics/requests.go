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
	r.of(key).observe(d, requestBytes, responseBytes)
}

// With returns what counts the requests of one direction with one peer: to be
// kept by those who count many, for whom it spares the way through the keys.
func (r *Requests) With(direction, peer string) *PeerRequests {
	return &PeerRequests{all: r, direction: direction, peer: peer}
}

// PeerRequests counts the requests of one direction with one peer.
type PeerRequests struct {
	all             *Requests
	direction, peer string
	codes           [len(codes)]atomic.Pointer[requests] // nil: none so far
}

// codes are the values of Request.Code, by a status's first digit.
var codes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"}

// Code returns the class of a status of three digits, or of none (0).
func Code(status int) string { return codes[status/100] }

// Peer returns the label under which the requests are counted.
func (p *PeerRequests) Peer() string { return p.peer }

// Observe counts one request, which was answered with a status of three digits,
// or with none (0), took d and had bodies of so many bytes.
func (p *PeerRequests) Observe(status int, d time.Duration, requestBytes, responseBytes int64) {
	class := status / 100
	c := p.codes[class].Load()
	if c == nil {
		c = p.all.of(Request{p.direction, p.peer, codes[class]})
		p.codes[class].Store(c)
	}
	c.observe(d, requestBytes, responseBytes)
}

func (c *requests) observe(d time.Duration, requestBytes, responseBytes int64) {
	c.duration.Observe(d)
	if requestBytes != 0 { // most requests have no body, and all loops write here
		c.up.Add(uint64(requestBytes))
	}
	c.down.Add(uint64(responseBytes))
}

func (r *Requests) of(key Request) *requests {
	r.mu.RLock()
	c := r.known[key]
	r.mu.RUnlock()
	if c != nil {
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c = r.known[key]
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
