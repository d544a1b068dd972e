// Package metrics counts what netra does and writes the counts as Prometheus
// text.
//
//	m := metrics.New(version.String())
//	m.Requests.Observe(metrics.Request{Direction: "inbound", Code: "2xx"}, took, 0, 1024)
//	m.WriteTo(w)
//
// It is a registry for netra alone: a sidecar's memory is paid once per pod,
// and client_golang with its protocol buffers would be the largest part of it.
// All methods may be called from any goroutine.
package metrics

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// MaxPeers bounds how many peers are told apart; the rest are counted under
// OtherPeer. It is above what one pod talks to, and keeps the page small when
// hostile or generated host names come by.
const MaxPeers = 200

// OtherPeer stands for every peer beyond MaxPeers.
const OtherPeer = "other"

// Keys of the labelled series.
type (
	// Request labels the series of requests. Code is a class ("2xx") or "none".
	Request struct{ Direction, Peer, Code string }
	// Bytes labels netra_bytes_total. Way is "request" for what the client
	// sent and "response" for what it received.
	Bytes struct{ Direction, Way string }
	// Connection labels the connections that are not HTTP. Peer is empty where
	// they are inbound, Protocol is as the first bytes or the port tell.
	Connection struct{ Direction, Peer, Protocol string }
	// Closing labels netra_tcp_connections_total. Reason says which end closed
	// or reset the connection, or that it timed out, could not be made or was
	// ended by netra's own end.
	Closing struct {
		Connection
		Reason string
	}
	// PeerBytes labels netra_tcp_bytes_total; Way is as in Bytes.
	PeerBytes struct{ Direction, Peer, Way string }
	// Cause labels series by direction and reason.
	Cause struct{ Direction, Reason string }
	// Probe labels netra_probes_total. Kind is one of the constants below, Code
	// as in Request.
	Probe struct{ Kind, Code string }
	// Result labels netra_routed_requests_total.
	Result struct{ Direction, Result string }
)

// Kinds of a Probe.
const (
	ProbeHTTP = "http"      // a request of the kubelet's to the application; gRPC, too
	ProbeHook = "lifecycle" // the kubelet's call of a postStart or preStop hook
	ProbeTCP  = "tcp"       // a question to netra whether a port accepts
)

// Set holds all series of one netra.
type Set struct {
	Requests    Requests
	Blind       Vec[Cause]
	Refused     Vec[Cause]
	DialErrors  Vec[Cause]
	Links       Vec[string]
	Routed      Vec[Result]
	Probes      Vec[Probe]
	TCP         Vec[Closing]
	TCPOpen     Vec[Connection]
	TCPBytes    Vec[PeerBytes]
	Inbound     Side
	Outbound    Side
	Panics      atomic.Uint64
	AcceptError atomic.Uint64
	Spans       atomic.Uint64
	Dropped     atomic.Uint64

	version string
	peers   peers
}

// Side holds the series that exist once for each direction; they are plain
// counters, since connections touch them with every read.
type Side struct {
	Connections   atomic.Uint64
	Open          atomic.Int64
	RequestBytes  atomic.Uint64
	ResponseBytes atomic.Uint64
	Lifetime      Histogram // of connections that are not HTTP
}

// New returns a Set with all counts at zero.
func New(version string) *Set {
	s := &Set{version: version, peers: peers{known: map[string]struct{}{}}}
	s.Inbound.Lifetime.bounds, s.Outbound.Lifetime.bounds = &Lifetimes, &Lifetimes
	return s
}

// Peer returns the label under which a peer is counted.
func (s *Set) Peer(name string) string { return s.peers.label(name) }

type peers struct {
	mu    sync.RWMutex
	known map[string]struct{}
}

func (p *peers) label(name string) string {
	if name == "" {
		return ""
	}
	p.mu.RLock()
	_, ok := p.known[name]
	full := len(p.known) >= MaxPeers
	p.mu.RUnlock()
	switch {
	case ok:
		return name
	case full:
		return OtherPeer
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.known[name]; !ok && len(p.known) >= MaxPeers {
		return OtherPeer
	}
	p.known[name] = struct{}{}
	return name
}

// Vec is a set of counters, or of gauges, one for each key.
type Vec[K comparable] struct {
	mu     sync.RWMutex
	counts map[K]*atomic.Uint64
}

// Add adds n to the key's counter.
func (v *Vec[K]) Add(key K, n uint64) { v.count(key).Add(n) }

// Sub takes from the key's gauge what was added to it before.
func (v *Vec[K]) Sub(key K, n uint64) { v.count(key).Add(-n) }

func (v *Vec[K]) count(key K) *atomic.Uint64 {
	v.mu.RLock()
	c := v.counts[key]
	v.mu.RUnlock()
	if c == nil {
		v.mu.Lock()
		if c = v.counts[key]; c == nil {
			if v.counts == nil {
				v.counts = map[K]*atomic.Uint64{}
			}
			c = new(atomic.Uint64)
			v.counts[key] = c
		}
		v.mu.Unlock()
	}
	return c
}

// Value returns the key's count.
func (v *Vec[K]) Value(key K) uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if c := v.counts[key]; c != nil {
		return c.Load()
	}
	return 0
}

// Buckets are the histograms' upper bounds in seconds: from what a call inside
// one node takes to the point where most clients give up.
var Buckets = [...]float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// Lifetimes are the upper bounds, in seconds, for connections: from a query's to
// the day that a pool may keep one.
var Lifetimes = [len(Buckets)]float64{0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400}

// Histogram counts durations in Buckets, or in other bounds.
type Histogram struct {
	bounds *[len(Buckets)]float64 // nil: Buckets
	counts [len(Buckets) + 1]atomic.Uint64
	nanos  atomic.Int64
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	i, seconds, bounds := 0, d.Seconds(), h.buckets()
	for i < len(bounds) && seconds > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.nanos.Add(int64(d))
}

func (h *Histogram) count() (n uint64) {
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

func (h *Histogram) buckets() *[len(Buckets)]float64 {
	if h.bounds != nil {
		return h.bounds
	}
	return &Buckets
}

// WriteTo writes all series as Prometheus text, version 0.0.4, in a fixed
// order.
func (s *Set) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	s.text(&b)
	return b.WriteTo(w)
}
