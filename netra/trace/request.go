package trace

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// Request is a request in flight. Its methods are called by one goroutine at a
// time.
type Request struct {
	tracer    *Tracer
	direction Direction
	start     time.Time
	peer      string
	status    int
	call      *call // nil unless it is gRPC
	silent    bool  // the kubelet's: neither span nor traffic
	spanned   bool  // it has a span
	context   Context
	name      string
	tags      []Tag
	requestID string
	flight    flight
	routed    routed
	kubelet   string // a silent one's kind, as metrics.Probe has it
}

// Result is how a request ended.
type Result struct {
	// Reason says why there is no complete response; empty where there is one.
	Reason string
	// Unsent is set where the server could not be reached, so that it has
	// nothing to be at work on.
	Unsent bool
	// Blind says why the connection could not be followed to the response's
	// end.
	Blind string
	// RequestBytes and ResponseBytes count the bodies' bytes.
	RequestBytes, ResponseBytes int64
}

// Values of Result.Reason, tags error.reason.
const (
	ReasonClosed      = "connection closed" // before the response
	ReasonTruncated   = "response truncated"
	ReasonReset       = "connection reset"
	ReasonClientReset = "client reset"
	ReasonTimeout     = "timeout"
	ReasonShutdown    = "proxy stopped"
	ReasonStreamReset = "stream reset"   // by the server; its code is added
	ReasonRefused     = "stream refused" // the server has not looked at it
)

// How the kubelet names itself, unless a probe's own headers do: in probes, by
// gRPC as by HTTP, and in hooks.
var (
	probeAgent = []byte("kube-probe/")
	hookAgent  = []byte("kube-lifecycle/")
)

// ofKubelet says what a request of the kubelet's is, a kind of metrics.Probe.
func ofKubelet(agent []byte) (kind string) {
	switch {
	case bytes.HasPrefix(agent, probeAgent):
		return metrics.ProbeHTTP
	case bytes.HasPrefix(agent, hookAgent):
		return metrics.ProbeHook
	}
	return ""
}

// Begin starts a request whose head has been read and returns the header fields
// to be written into it.
func (t *Tracer) Begin(direction Direction, head Head) (*Request, []Edit) {
	now := t.now()
	f := t.headers.read(head, direction == Inbound)
	r := &Request{tracer: t, direction: direction, start: now}
	if direction == Outbound {
		edits := t.outbound(r, head, &f, now)
		if t.routing != nil {
			edits = t.route(r, &f, edits)
		}
		return r, edits
	}
	edits := t.inbound(r, head, &f)
	r.flight.context = r.context
	if t.routing != nil && !r.silent {
		t.routing.begin(r, &f)
	}
	t.flights.begin(&r.flight)
	return r, edits
}

func (t *Tracer) inbound(r *Request, head Head, f *fields) []Edit {
	r.peer = t.metrics.Peer(PeerName(clip(f.value[hSource]), t.settings.Namespace))
	r.kubelet = ofKubelet(f.value[hUserAgent])
	r.silent = r.kubelet != ""
	if r.silent || t.off || t.ignores(head.Target) {
		return nil
	}
	t.join(r, head, f, extract(f))
	edits := t.inject(f, r.context)
	r.requestID = string(f.value[hRequestID])
	if r.requestID == "" {
		r.requestID = newRequestID()
		edits = append(edits, Edit{t.settings.RequestIDHeader, r.requestID, f.value[hRequestID] != nil})
	}
	t.contexts.begin(r.requestID, r.context)
	if r.context.Sampled {
		r.describe(head, f)
		r.tags = append(r.tags, f.tags...)
		r.tags = append(r.tags, t.cookies(f.value[hCookie])...)
	}
	return edits
}

func (t *Tracer) outbound(r *Request, head Head, f *fields, now time.Time) []Edit {
	host := clip(f.value[hHost])
	if host == "" {
		host = head.Server.Addr().String()
	}
	r.peer = t.metrics.Peer(PeerName(host, t.settings.Namespace))
	var source []Edit
	if t.settings.SourceValue != "" {
		source = []Edit{{t.settings.SourceHeader, t.settings.SourceValue, f.value[hSource] != nil}}
	}
	if t.off || t.ignores(head.Target) {
		return source
	}
	r.requestID = string(f.value[hRequestID])
	parent, link := t.parent(f, r.requestID, now)
	t.metrics.Links.Add(string(link), 1)
	t.join(r, head, f, parent)
	if r.context.Sampled {
		r.describe(head, f)
		r.tags = append(r.tags, Tag{"netra.link", string(link)})
	}
	return append(t.inject(f, r.context), source...)
}

// parent finds the parent of an outbound request.
func (t *Tracer) parent(f *fields, requestID string, now time.Time) (extracted, Link) {
	own := extract(f)
	if own.parent.Valid() {
		return own, LinkHeaders
	}
	var ctx Context
	var link Link
	if found, mixed, ok := t.contexts.find(requestID, now); ok {
		if ctx, link = found, LinkRequestID; mixed {
			ctx, link = Context{}, LinkAmbiguous
		}
	} else {
		ctx, link = t.flights.infer(now, t.settings.Expiration, t.settings.Inference)
	}
	if !ctx.Valid() {
		return own, link
	}
	if own.decided { // a decision without a parent ("b3: 0") is the application's
		ctx.Sampled = own.parent.Sampled
	}
	return extracted{ctx, true}, link
}

// join gives the request its context.
func (t *Tracer) join(r *Request, head Head, f *fields, e extracted) {
	r.spanned = true
	r.call = readCall(head, f)
	r.context, r.name = t.begin(e, func() string { return t.name(head, r.call) })
}

// begin gives a span its context, sampled or not. Its name is only made where
// it is asked for.
func (t *Tracer) begin(e extracted, spanName func() string) (ctx Context, name string) {
	if e.parent.Valid() {
		ctx = child(e.parent)
	} else {
		ctx = root()
		ctx.Sampled = e.parent.Sampled
	}
	if !e.decided || ctx.Sampled {
		name = spanName()
	}
	if !e.decided {
		ctx.Sampled = t.exporter.Sample(ctx, name)
	}
	return ctx, name
}

func (t *Tracer) name(head Head, c *call) string {
	if c != nil {
		return t.routes.bounded(c.name(), string(head.Method))
	}
	return t.routes.name(string(head.Method), clip(head.Target))
}

func (t *Tracer) ignores(target []byte) bool {
	if len(t.ignored) == 0 {
		return false
	}
	_, ok := t.ignored[Path(string(target))]
	return ok
}

// describe notes what the span will say about the request's head.
func (r *Request) describe(head Head, f *fields) {
	kind, peer := "server", head.Client
	if r.direction == Outbound {
		kind, peer = "client", head.Server
	}
	target := clip(head.Target)
	r.tags = append(make([]Tag, 0, 20),
		Tag{"span.kind", kind},
		Tag{"component", "netra"},
		Tag{"http.method", string(head.Method)},
		Tag{"http.target", target},
		Tag{"http.path", Path(target)},
		Tag{"peer.address", addrPort(peer)})
	for _, tag := range [...]Tag{
		{"http.host", clip(f.value[hHost])},
		{"http.user_agent", clip(f.value[hUserAgent])},
		{"http.request_id", clip([]byte(r.requestID))},
		{"peer.service", r.peer},
	} {
		if tag.Value != "" {
			r.tags = append(r.tags, tag)
		}
	}
	if r.call != nil {
		r.tags = r.call.describe(r.tags)
	}
}

func addrPort(a netip.AddrPort) string {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

// Answered notes the response's status.
func (r *Request) Answered(status int) { r.status = status }

// End finishes the request: it is no longer in flight, it is counted, and its
// span is exported.
func (r *Request) End(result Result) {
	t := r.tracer
	now := t.now()
	if r.direction == Inbound {
		// A probe's work is nobody's: it makes no request of a user doubtful.
		t.flights.end(&r.flight, result.Reason == "" && !r.silent, now)
		// Of a probe that is answered the kubelet reads 10 KiB, and hangs up.
		over := result.Unsent || r.silent && r.status != 0
		if result.Reason != "" && !over { // the application may still be at work on it
			t.flights.unseen(now)
		}
		t.contexts.end(r.requestID, now)
		for _, key := range r.routed.keys {
			t.routing.kept.end(key, now)
		}
	}
	duration := now.Sub(r.start)
	r.count(duration, result)
	if !r.spanned || !r.context.Sampled {
		return
	}
	r.tags = append(r.tags, Tag{"http.request_size", result.RequestBytes}, Tag{"http.response_size", result.ResponseBytes})
	if r.status != 0 {
		r.tags = append(r.tags, Tag{"http.status_code", int64(r.status)})
	}
	if result.Blind != "" {
		r.tags = append(r.tags, Tag{"netra.blind", result.Blind})
	}
	if r.call != nil {
		r.tags = r.call.outcome(r.tags)
	}
	r.tags = failed(r.tags, result.Reason)
	if result.Reason == "" && (r.status >= 500 || r.call.failed()) {
		r.tags = append(r.tags, Tag{"error", true})
	}
	t.export(Span{Context: r.context, Name: r.name, Start: r.start, Duration: duration, Tags: r.tags})
}

// failed adds the tags of a failure, if there is a reason for one.
func failed(tags []Tag, reason string) []Tag {
	if reason == "" {
		return tags
	}
	return append(tags, Tag{"error.reason", reason}, Tag{"error", true})
}

func (t *Tracer) export(s Span) {
	t.metrics.Spans.Add(1)
	t.exporter.Export(s)
}

func (r *Request) count(duration time.Duration, result Result) {
	code := "none"
	if r.status != 0 {
		code = strconv.Itoa(r.status/100) + "xx"
	}
	if r.silent {
		r.tracer.metrics.Probes.Add(metrics.Probe{Kind: r.kubelet, Code: code}, 1)
		return
	}
	key := metrics.Request{Direction: r.direction.String(), Peer: r.peer, Code: code}
	r.tracer.metrics.Requests.Observe(key, duration, result.RequestBytes, result.ResponseBytes)
}

// newRequestID returns a random UUID.
func newRequestID() string {
	high := rand.Uint64()&^0xf000 | 0x4000
	low := rand.Uint64()&^(3<<62) | 2<<62
	var b [36]byte
	h := appendHex16(appendHex16(b[4:4], high), low) // moved to their places below
	copy(b[:8], h[:8])
	b[8] = '-'
	copy(b[9:13], h[8:12])
	b[13] = '-'
	copy(b[14:18], h[12:16])
	b[18] = '-'
	copy(b[19:23], h[16:20])
	b[23] = '-' // the last twelve are in place
	return string(b[:])
}
