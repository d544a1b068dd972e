package trace

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// Request is a request in flight, until End. Its methods are called by one
// goroutine at a time.
type Request struct {
	tracer    *Tracer // nil after End
	direction Direction
	start     time.Time
	peer      *metrics.PeerRequests
	status    int
	call      call
	silent    bool // the kubelet's: neither span nor traffic
	spanned   bool // it has a span
	context   Context
	name      string
	requestID []byte
	known     entry[Context] // by the request id, of an inbound one
	link      Link           // of an outbound one
	noted     noted
	flight    flight
	routed    routed
	kubelet   string // a silent one's kind, as metrics.Probe has it
	edits     []Edit
	text      []byte // holds all texts of the request
}

// noted is what a span says of a request's head.
type noted struct {
	method, target, host, agent []byte
	peer                        netip.AddrPort
	tags                        []attribute // of headers and cookies
}

// usualText is room for the texts of a common request, keptText what is kept for
// the next one, in bytes.
const (
	usualText = 512
	keptText  = 8 << 10
)

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
// to be written into it, which are valid until its End.
func (t *Tracer) Begin(direction Direction, head Head) (*Request, []Edit) {
	now := t.now()
	f := t.headers.read(head, direction == Inbound)
	r := t.requests.Get().(*Request)
	r.tracer, r.direction, r.start = t, direction, now
	if direction == Outbound {
		t.outbound(r, head, &f, now)
		if t.routing != nil {
			t.route(r, &f)
		}
		return r, r.edits
	}
	t.inbound(r, head, &f)
	r.flight.context = r.context
	if t.routing != nil && !r.silent {
		t.routing.begin(r, &f)
	}
	t.flights.begin(&r.flight)
	return r, r.edits
}

func (t *Tracer) inbound(r *Request, head Head, f *fields) {
	r.peer = t.peer(Inbound, clip(f.value[hSource]))
	r.kubelet = ofKubelet(f.value[hUserAgent])
	r.silent = r.kubelet != ""
	if r.silent || t.off || t.ignores(head.Target) {
		return
	}
	t.join(r, head, f, extract(f))
	t.inject(r, f)
	if id := f.value[hRequestID]; len(id) > 0 {
		r.requestID = r.keep(clip(id))
	} else {
		from := len(r.text)
		r.text = appendRequestID(r.text)
		r.requestID = r.text[from:]
		r.edits = append(r.edits, Edit{t.settings.RequestIDHeader, r.requestID, id != nil})
	}
	r.known = t.contexts.begin(r.requestID, r.context)
	if r.context.Sampled {
		r.note(head, f)
		r.noteTags(f.tagged)
		r.noteTags(t.cookies(f.value[hCookie]))
	}
}

func (t *Tracer) outbound(r *Request, head Head, f *fields, now time.Time) {
	host := clip(f.value[hHost])
	if len(host) == 0 {
		from := len(r.text)
		r.text = head.Server.Addr().AppendTo(r.text)
		host = r.text[from:]
	}
	r.peer = t.peer(Outbound, host)
	if t.off || t.ignores(head.Target) {
		t.source(r, f)
		return
	}
	r.requestID = r.keep(clip(f.value[hRequestID]))
	var parent extracted
	parent, r.link = t.parent(f, r.requestID, now)
	t.metrics.Links.Add(string(r.link), 1)
	t.join(r, head, f, parent)
	if r.context.Sampled {
		r.note(head, f)
	}
	t.inject(r, f)
	t.source(r, f)
}

// source has the service's own name written, if it is to be.
func (t *Tracer) source(r *Request, f *fields) {
	if t.settings.SourceValue != "" {
		r.edits = append(r.edits, Edit{t.settings.SourceHeader, []byte(t.settings.SourceValue), f.value[hSource] != nil})
	}
}

// parent finds the parent of an outbound request.
func (t *Tracer) parent(f *fields, requestID []byte, now time.Time) (extracted, Link) {
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
	r.noted.method, r.noted.target = r.keep(head.Method), r.keep(clip(head.Target))
	r.call = readCall(r.noted.target, f)
	r.context, r.name = t.begin(e, r.spanName)
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

func (r *Request) spanName() string {
	routes, method := &r.tracer.routes, r.noted.method
	if r.call.is() {
		var room [128]byte
		return routes.bounded(r.call.appendName(room[:0]), method)
	}
	return routes.name(method, r.noted.target)
}

func (t *Tracer) ignores(target []byte) bool {
	if len(t.ignored) == 0 {
		return false
	}
	_, ok := t.ignored[string(path(target))]
	return ok
}

// keep copies a text of the head.
func (r *Request) keep(text []byte) []byte {
	from := len(r.text)
	r.text = append(r.text, text...)
	return r.text[from:]
}

// note keeps what the span will say about the request's head, besides method and
// target.
func (r *Request) note(head Head, f *fields) {
	r.noted.host, r.noted.agent = r.keep(clip(f.value[hHost])), r.keep(clip(f.value[hUserAgent]))
	if r.noted.peer = head.Client; r.direction == Outbound {
		r.noted.peer = head.Server
	}
}

func (r *Request) noteTags(tags []attribute) {
	for _, tag := range tags {
		tag.text = r.keep(tag.text)
		r.noted.tags = append(r.noted.tags, tag)
	}
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
		t.contexts.end(r.known, now)
		for _, known := range r.routed.known {
			t.routing.kept.end(known, now)
		}
	}
	duration := now.Sub(r.start)
	r.count(duration, result)
	if r.spanned && r.context.Sampled {
		r.export(duration, result)
	}
	r.release()
}

func (r *Request) count(duration time.Duration, result Result) {
	if r.silent {
		r.tracer.metrics.Probes.Add(metrics.Probe{Kind: r.kubelet, Code: metrics.Code(r.status)}, 1)
		return
	}
	r.peer.Observe(r.status, duration, result.RequestBytes, result.ResponseBytes)
}

// release gives the request's memory back.
func (r *Request) release() {
	t := r.tracer
	*r = Request{text: r.text[:0], edits: r.edits[:0], noted: noted{tags: r.noted.tags[:0]}, routed: routed{known: r.routed.known[:0]}}
	if cap(r.text) <= keptText {
		t.requests.Put(r)
	}
}

// export gives the span to the exporter.
func (r *Request) export(duration time.Duration, result Result) {
	t := r.tracer
	t.metrics.Spans.Add(1)
	span := t.records.Get().(*record)
	span.context, span.name, span.start, span.duration = r.context, r.name, r.start, duration
	r.describe(span)
	r.outcome(span, result)
	if t.encoding != nil {
		t.encoding.record(span)
	} else {
		t.exporter.Export(span.span())
	}
	clear(span.tags) // they hold the request's texts
	span.tags, span.room = span.tags[:0], span.room[:0]
	t.records.Put(span)
}

// describe adds what is known since the request's head.
func (r *Request) describe(span *record) {
	kind := "server"
	if r.direction == Outbound {
		kind = "client"
	}
	peer := r.peer.Peer()
	span.word("span.kind", kind)
	span.word("component", "netra")
	span.text("http.method", r.noted.method)
	span.text("http.target", r.noted.target)
	span.text("http.path", path(r.noted.target))
	if !r.routed.went {
		span.address("peer.address", r.noted.peer)
	}
	for _, tag := range [...]struct {
		key   string
		value []byte
	}{{"http.host", r.noted.host}, {"http.user_agent", r.noted.agent}, {"http.request_id", r.requestID}} {
		if len(tag.value) > 0 {
			span.text(tag.key, tag.value)
		}
	}
	if !r.routed.went && peer != "" {
		span.word("peer.service", peer)
	}
	if r.call.is() {
		r.call.describe(span)
	}
	span.tags = append(span.tags, r.noted.tags...)
	if r.direction == Outbound {
		span.word("netra.link", string(r.link))
	}
	r.routed.describe(span, peer)
}

// outcome adds what is known at the request's end.
func (r *Request) outcome(span *record, result Result) {
	span.number("http.request_size", result.RequestBytes)
	span.number("http.response_size", result.ResponseBytes)
	if r.status != 0 {
		span.number("http.status_code", int64(r.status))
	}
	if result.Blind != "" {
		span.word("netra.blind", result.Blind)
	}
	if r.call.is() {
		r.call.outcome(span)
	}
	if result.Reason != "" {
		span.word("error.reason", result.Reason)
	}
	if result.Reason != "" || r.status >= 500 || r.call.failed() {
		span.truth("error", true)
	}
}

// appendRequestID appends a random UUID.
func appendRequestID(b []byte) []byte {
	high := rand.Uint64()&^0xf000 | 0x4000
	low := rand.Uint64()&^(3<<62) | 2<<62
	var digits [32]byte
	h := appendHex16(appendHex16(digits[:0], high), low)
	b = append(append(b, h[:8]...), '-')
	b = append(append(b, h[8:12]...), '-')
	b = append(append(b, h[12:16]...), '-')
	b = append(append(b, h[16:20]...), '-')
	return append(b, h[20:]...)
}
