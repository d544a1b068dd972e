// Package trace turns requests that pass by into spans, and joins them into
// traces.
//
//	tracer := trace.New(settings, exporter, metrics)
//	request, edits := tracer.Begin(trace.Inbound, head, start)
//	// write the head with the edits, then, from the response:
//	request.Answered(200)
//	request.End(trace.Result{RequestBytes: 12, ResponseBytes: 345})
//
// A Request and its edits live in memory that the next requests use again: they
// are valid until End, which gives them back. What a span says of the head is
// copied once, when the request begins, and put into the exporter's own form once,
// when it ends; so tracing a request takes no memory from the heap.
//
// Begin finds the parent of the request's span. An inbound request's parent is
// what its headers name. An outbound request's parent is, in this order,
//
//   - what its headers name (the application forwarded or made them),
//   - the inbound request that has the same request id,
//   - the only inbound request in flight in this pod, unless one that cannot be
//     seen could be the origin as well. It is netra.link=inferred where no
//     request of another trace was answered within the time that a context is
//     kept (NETRA_TRACING_CONTEXT_…), so that no two users' requests are mixed
//     up; netra.link=likely where one was, for an application may go on with
//     what it has answered;
//   - else none: a root, netra.link=ambiguous where there were several.
//
// A request is in flight from its head to the last byte of its response. What
// cannot be seen is: bytes on inbound connections that are not HTTP, and the
// work that goes on after a client has given up; both make the answer
// ambiguous for as long as a context is kept. What leaves no mark on the wire is
// accepted: a call that the application makes on its own, by a timer, or for a
// request that ended longer ago than that, is joined to the one that is alone in
// flight. bench/inference measures how often. Settings.Inference says which of
// these links are made.
//
// Finished spans go to an Exporter: JaegerExporter, or OTLPExporter, for
// OpenTelemetry's collectors. Tags keep their names in both; of OTLP's spans the
// tag span.kind becomes the kind, and an error tag that is true the status, with
// error.reason as its message.
//
// A connection that the application makes and that carries no requests is one
// span, whose parent is found as that of a request without headers, at the time
// when the connection begins:
//
//	connection := tracer.Open(trace.Outbound, server)
//	connection.Named(trace.Carried{Protocol: "postgresql"})
//	connection.End(trace.Closing{Reason: trace.ClosedByClient, Sent: 12})
//
// With Settings.Routing, an inbound request may bring routes, "host1=host2": a
// request to host1 that belongs to it goes to host2 (routing.go). The tracer
// keeps them with the request, inserts them into the requests that are joined to
// it, and says which server each goes to; sending it there is not its part:
//
//	request, edits := tracer.Begin(trace.Outbound, head)
//	if to := request.Upstream(); to.Host != "" { … }
//
// The package knows nothing of how requests are framed; it is given heads, and
// gives back which header fields to write. It may be used from any goroutine.
package trace

import (
	"iter"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// Direction tells requests to the application from those it makes.
type Direction uint8

// The two directions.
const (
	Inbound Direction = iota
	Outbound
)

func (d Direction) String() string {
	if d == Outbound {
		return "outbound"
	}
	return "inbound"
}

// Context is a span's identity, as it travels between services.
type Context struct {
	TraceHigh, TraceLow uint64
	Span, Parent        uint64
	Sampled             bool
}

// Valid reports whether the context names a span.
func (c Context) Valid() bool { return c.TraceHigh|c.TraceLow != 0 && c.Span != 0 }

// TraceID returns the trace's identifier in 32 hexadecimal digits.
func (c Context) TraceID() string { return hex16(c.TraceHigh) + hex16(c.TraceLow) }

// SpanID returns the span's identifier in 16 hexadecimal digits.
func (c Context) SpanID() string { return hex16(c.Span) }

func hex16(n uint64) string {
	var b [16]byte
	return string(appendHex16(b[:0], n))
}

// appendHex16 appends n in 16 hexadecimal digits.
func appendHex16(b []byte, n uint64) []byte {
	const digits = "0123456789abcdef"
	var text [16]byte
	for i := range text {
		text[i] = digits[n>>(60-4*i)&0xf]
	}
	return append(b, text[:]...)
}

// same reports whether both are of one trace.
func (c Context) same(o Context) bool {
	return c.TraceHigh == o.TraceHigh && c.TraceLow == o.TraceLow
}

func (c Context) size() int { return 0 }

// Settings are what a Tracer is built from.
type Settings struct {
	// RequestIDHeader joins outbound requests to inbound ones; X-Request-Id.
	RequestIDHeader string
	// SourceHeader, where SourceValue is not empty, is written on outbound
	// requests; on inbound ones its value names the peer.
	SourceHeader, SourceValue string
	// Propagation lists the formats that are written even where a request does
	// not have them yet.
	Propagation []Format
	// IgnoredPaths are paths without spans.
	IgnoredPaths []string
	// HeaderTags and CookieTags map names (headers' in lower case) to tags of
	// inbound spans.
	HeaderTags, CookieTags map[string]string
	// Expiration is how long a request's context is kept after its end.
	Expiration time.Duration
	// CleanupInterval is how often expired contexts are removed.
	CleanupInterval time.Duration
	// Namespace is the pod's own; it is left out of peers' names.
	Namespace string
	// Inference says which links are made to requests in flight; InferLikely
	// where it is empty.
	Inference Inference
	// Routing says whether and how requests are routed.
	Routing Routing
}

// Head is what Begin needs of a request. Its slices and fields are only read
// during the call.
type Head struct {
	Method, Target []byte
	Fields         iter.Seq2[[]byte, []byte]
	// Client and Server are the connection's ends.
	Client, Server netip.AddrPort
}

// Edit is a header field to be written: inserted after the others, or, with
// Replace, as the new value of each field of that name. The value is valid until
// the request's End.
type Edit struct {
	Name    string
	Value   []byte
	Replace bool
}

// Tracer makes spans of requests.
type Tracer struct {
	settings Settings
	ignored  map[string]struct{}
	headers  *headerIndex
	exporter Exporter
	encoding encoding // the exporter, where it is one
	off      bool     // nothing is exported
	metrics  *metrics.Set
	flights  flights
	contexts contexts
	routes   routes
	peers    [2]peers // by direction
	requests sync.Pool
	records  sync.Pool
	routing  *routing // nil: off
	now      func() time.Time
}

// New returns a Tracer that gives its finished spans to exporter.
func New(settings Settings, exporter Exporter, set *metrics.Set) *Tracer {
	t := &Tracer{
		settings: settings,
		ignored:  make(map[string]struct{}, len(settings.IgnoredPaths)),
		headers:  newHeaderIndex(settings),
		exporter: exporter,
		metrics:  set,
		now:      time.Now,
	}
	_, t.off = exporter.(Discard)
	t.encoding, _ = exporter.(encoding)
	t.requests.New = func() any { return &Request{text: make([]byte, 0, usualText)} }
	t.records.New = func() any { return &record{} }
	for _, path := range settings.IgnoredPaths {
		t.ignored[path] = struct{}{}
	}
	t.contexts.keep = settings.Expiration
	if settings.Routing.Header != "" {
		t.routing = newRouting(settings.Routing, set)
	}
	return t
}

// Clean removes expired contexts every CleanupInterval until done is closed,
// and expired routes at their own interval.
func (t *Tracer) Clean(done <-chan struct{}) {
	tick := time.NewTicker(t.settings.CleanupInterval)
	defer tick.Stop()
	var routes <-chan time.Time
	if t.routing != nil {
		tick := time.NewTicker(t.routing.settings.CleanupInterval)
		defer tick.Stop()
		routes = tick.C
	}
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			t.contexts.clean(t.now())
		case <-routes:
			t.routing.kept.clean(t.now())
		}
	}
}

// Unseen notes that the application was sent bytes which may be requests that
// netra cannot see.
func (t *Tracer) Unseen() { t.flights.unseen(t.now()) }

// newID returns an identifier that is not zero.
func newID() uint64 {
	for {
		if id := rand.Uint64(); id != 0 {
			return id
		}
	}
}

// child returns the context of a new span below parent.
func child(parent Context) Context {
	c := parent
	c.Span, c.Parent = newID(), parent.Span
	return c
}

// root returns the context of a new trace; whether it is sampled is not decided
// yet.
func root() Context {
	return Context{TraceHigh: newID(), TraceLow: newID(), Span: newID()}
}
