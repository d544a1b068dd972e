package proxy

import (
	"bytes"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/proxy/http1"
	"github.com/formicarium/formicarium/netra/trace"
)

// A request is routed at its head (router.go has the connections). Where it goes
// to another upstream than the one in use, the head is held, and nothing behind
// it is read, until the responses before it are complete: so the client gets
// them in order. Then the upstream is changed and the head is written to it.
//
// Only requests of HTTP/1 are routed, and of these none that asks for another
// protocol (CONNECT, Upgrade), nor one in absolute form, which is meant for a
// forward proxy. They go where the client meant them to go, and so does what is
// no request at all.

// held is what waits for its upstream: the head of a request, or, without one,
// bytes that are no request.
type held struct {
	pending *pending
	edits   []trace.Edit
	n       int            // the head's length
	to      trace.Upstream // the zero one: where the client meant it to go
}

// divert holds what begins at the window's r where it does not go to the
// upstream in use.
func (s *requests) divert(h *half, next held) (isHeld bool) {
	r := s.link.router
	if next.pending != nil {
		next.to = r.destination(&s.framer.Message, next.pending.request)
	}
	switch {
	case r.current.to == next.to && r.current.fd >= 0 && (next.to == trace.Upstream{} || len(s.queue) < maxPending-1):
		r.taken(next.pending, &s.framer.Message)
		return false
	case h.done > h.r: // it has begun to pass, as what could be another protocol
		if next.pending != nil {
			s.link.unrouted(next.pending.request)
		}
		return false
	}
	if next.pending != nil {
		s.any = true
		s.link.flow.follow()
	}
	s.held, h.waiting = &next, true
	return true
}

// resume lets pass what is held, and reports false while that must wait.
func (s *requests) resume(h *half) bool {
	next := s.held
	switch {
	case next == nil: // the requests are not followed any more
		h.waiting = false
		return true
	case h.done < h.r || len(h.out) > 0: // first what belongs to the upstream before
		h.later()
		return false
	case len(s.queue) > 0 || !s.link.router.reach(next.to):
		return false
	}
	s.held, h.waiting = nil, false
	if next.pending == nil {
		return true
	}
	m := &s.framer.Message
	m.Head = h.unread()[:next.n] // it may have been moved
	s.link.router.taken(next.pending, m)
	s.send(h, next.edits)
	h.r += next.n
	return true
}

// reroute relays after all where the request of a client whose destination could
// not be dialled goes to another one.
func (s *lost) reroute(request *trace.Request, edits []trace.Edit, head http1.Piece) {
	l, m := s.link, &s.framer.Message
	to, ok := routable(m, request.Upstream(), l.destination.Port())
	if !ok {
		return
	}
	l.home.readable = false
	l.relay()
	q := l.router.requests
	q.framer, q.inBody = s.framer, !head.End
	q.current = &pending{request: request, method: string(m.Method)}
	q.held = &held{pending: q.current, edits: edits, n: head.N, to: to}
	q.any = true
	l.flow.follow()
	l.up.window, s.window = s.window, window{}
	l.up.keep() // what the loop has lent
	l.up.waiting = true
	l.wake()
}

// wait is called at an event of a half that waits. It does not read, and so must
// ask whether the client is still there.
func (h *half) wait() {
	if err := connectResult(h.from.fd); err != nil {
		h.failed(err)
		return
	}
	h.later()
}

// destination returns where a request goes.
func (r *router) destination(m *http1.Message, request *trace.Request) trace.Upstream {
	to := request.Upstream()
	if to.Host == "" {
		return to
	}
	to, ok := routable(m, to, r.link.destination.Port())
	if !ok {
		r.link.unrouted(request)
	}
	return to
}

// routable returns the upstream with its port, if a request may go there.
func routable(m *http1.Message, to trace.Upstream, port uint16) (trace.Upstream, bool) {
	if m.Upgrade || string(m.Method) == "CONNECT" || m.Target[0] != '/' && string(m.Target) != "*" {
		return trace.Upstream{}, false
	}
	if to.Port == 0 {
		to.Port = port
	}
	return to, true
}

// taken notes that a request goes to the upstream in use.
func (r *router) taken(p *pending, m *http1.Message) {
	if p == nil || r.isHome(r.current) {
		return
	}
	r.current.last = saysClose(m)
	p.request.Routed(r.current.address)
	r.count(trace.Routed)
}

// answered notes the head of a response.
func (r *router) answered(m *http1.Message) {
	if !r.isHome(r.current) {
		r.current.last = r.current.last || saysClose(m)
	}
}

// saysClose reports whether the connection ends after this message: then that is
// for the client to see. HTTP/1.0 may end it in any case.
func saysClose(m *http1.Message) bool {
	if m.Minor == 0 {
		return true
	}
	for name, value := range m.Fields() {
		if len(name) != len("Connection") || !bytes.EqualFold(name, []byte("Connection")) {
			continue
		}
		for item := range bytes.SplitSeq(value, []byte{','}) {
			if bytes.EqualFold(bytes.TrimSpace(item), []byte("close")) {
				return true
			}
		}
	}
	return false
}

// unrouted counts a request that has a route and does not go by it.
func (l *link) unrouted(request *trace.Request) {
	if request.Upstream().Host != "" {
		l.proxy.metrics.Routed.Add(metrics.Result{Direction: l.direction.String(), Result: trace.RouteImpossible}, 1)
	}
}

func (r *router) count(result string) {
	r.link.proxy.metrics.Routed.Add(metrics.Result{Direction: r.link.direction.String(), Result: result}, 1)
}
