package proxy

import (
	"net/netip"

	"github.com/formicarium/formicarium/netra/proxy/sniff"
	"github.com/formicarium/formicarium/netra/trace"
)

// flow is a connection seen as a whole: what it carries, what ended it and how
// many bytes passed. It is of interest where the connection turns out not to be
// HTTP that netra follows; then it has a span and counts of its own.
//
// The two halves of a connection begin watched. A watched half lets the HTTP
// protocol look first. Once that follows a request, it is put in the watched
// one's place, and the flow has no further part. Once it has given up before
// any request, or where HTTP is not looked for, a sniffer is shown the bytes
// until it knows all it wants of that half, and then a plain copier that counts
// is put there.
type flow struct {
	link       *link
	connection *trace.Connection
	port       uint16
	up, down   opaque
	carries    carrying
	sniffer    sniff.Sniffer
	named      bool
	reason     trace.CloseReason // what ended it, the first of both halves
}

// carrying says what a flow carries. It is decided once.
type carrying uint8

const (
	undecided carrying = iota
	followed           // requests that are traced
	opaquely           // anything else
)

// open notes where the connection goes, before that is dialled.
func (s *flow) open(l *link, destination netip.AddrPort) {
	s.link, s.port = l, destination.Port()
	s.connection = l.proxy.tracer.Open(l.direction, destination)
	s.sniffer = sniff.New(s.port)
	s.up, s.down = opaque{flow: s}, opaque{flow: s, down: true}
}

// follow says that the connection carries requests that are traced themselves.
func (s *flow) follow() { s.decide(followed) }

// giveUp says that there is no request to be followed on the connection.
func (s *flow) giveUp() { s.decide(opaquely) }

func (s *flow) decide(carries carrying) {
	if s.carries == undecided {
		s.carries = carries
	}
}

// watch returns what the halves begin with, given what follows HTTP, if
// anything does.
func (s *flow) watch(up, down protocol) (watchedUp, watchedDown protocol) {
	return &watched{follower: up, side: &s.up}, &watched{follower: down, side: &s.down}
}

// watched is a half's protocol until it is known what the connection carries.
type watched struct {
	follower protocol // nil where HTTP is not looked for
	side     *opaque
	unread   int // bytes that passed without being understood yet
}

func (w *watched) digest(h *half) (hold bool) {
	flow, begin := w.side.flow, h.r
	if flow.carries != opaquely {
		hold = w.follower.digest(h)
	}
	switch flow.carries {
	case followed:
		w.yield(h, w.follower)
	case opaquely:
		h.r = begin
		first := h.unread()
		w.side.digest(h)
		w.unread, hold = 0, false
		if !flow.look(w.side.down, first) {
			w.yield(h, w.side)
		}
	default:
		w.unread = h.w - h.r
	}
	return hold
}

// yield puts next in this one's place, unless the follower has put another
// there itself.
func (w *watched) yield(h *half, next protocol) {
	if h.protocol == protocol(w) {
		h.protocol = next
	}
}

func (w *watched) over() {
	w.side.passed += int64(w.unread) // written by now
	if w.follower != nil {
		w.follower.over()
	}
	w.side.over()
}

// opaque copies what one end sends; from a client to the application it tells
// the tracer that there is something it cannot see.
type opaque struct {
	flow   *flow
	down   bool
	passed int64 // bytes; for the flow's end, after both halves'
}

func (o *opaque) digest(h *half) bool {
	o.passed += int64(h.w - h.r)
	h.r = h.w
	if !o.down {
		o.flow.link.unseen()
	}
	return false
}

func (o *opaque) over() {
	if o.down {
		o.flow.closing(trace.ClosedByServer)
	} else {
		o.flow.closing(trace.ClosedByClient)
	}
}

// look shows the sniffer what one end sent and reports whether it wants more of
// it.
func (s *flow) look(down bool, p []byte) (more bool) {
	if down {
		more = s.sniffer.Server(p)
	} else {
		more = s.sniffer.Client(p)
	}
	if s.sniffer.Done() {
		s.name()
	}
	return more
}

// name tells the tracer what the connection carries, once.
func (s *flow) name() {
	if s.named {
		return
	}
	s.named = true
	s.connection.Named(s.carried())
}

func (s *flow) carried() trace.Carried {
	i := s.sniffer.Identity()
	return trace.Carried{Protocol: string(i.Protocol), Server: i.Server, Database: i.Database}
}

// closing notes what ends the connection; what comes later is its consequence.
func (s *flow) closing(reason trace.CloseReason) {
	if s.reason == "" {
		s.reason = reason
	}
}

// aborted notes that the connection ends now, with a reset.
func (s *flow) aborted(reason string) {
	if s.connection != nil { // else it never began
		s.connection.Over()
	}
	switch reason {
	case trace.ReasonClientReset:
		s.closing(trace.ResetByClient)
	case trace.ReasonReset:
		s.closing(trace.ResetByServer)
	case trace.ReasonTimeout:
		s.closing(trace.ClosedByTimeout)
	default:
		s.closing(trace.ClosedByShutdown)
	}
}

// end finishes the connection after both halves have ended.
func (s *flow) end() {
	if s.carries == followed || s.silent() {
		return
	}
	s.name()
	s.connection.End(trace.Closing{Reason: s.reason, Sent: s.up.passed, Received: s.down.passed})
}

// silent reports whether no byte tells anything and nothing else does: inbound
// that is a probe, outbound a connection that an HTTP client made ahead of a
// request.
func (s *flow) silent() bool {
	if s.up.passed+s.down.passed > 0 {
		return false
	}
	return s.link.direction == trace.Inbound || s.carries == undecided && sniff.ByPort(s.port) == ""
}

// unreachable finishes a connection whose destination could not be dialled and
// whose client sent these bytes, which begin no request.
func (s *flow) unreachable(first []byte, reason string) {
	if s.link.direction == trace.Inbound { // a probe, or a port that nobody serves
		return
	}
	if len(first) > 0 {
		s.sniffer.Client(first)
	}
	s.connection.Fail(s.carried(), reason)
}
