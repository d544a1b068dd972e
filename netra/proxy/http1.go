package proxy

import (
	"net/netip"

	"github.com/formicarium/formicarium/netra/proxy/http1"
	"github.com/formicarium/formicarium/netra/trace"
)

// requests looks at what an HTTP/1 client sends.
type requests struct {
	*exchange
	framer  *http1.Framer
	current *pending // whose body is passing
	asked   *pending // waits for the answer to CONNECT or Upgrade
	raw     bool     // the rest is only copied
}

func (s *requests) digest(h *half) (hold bool) {
	for h.r < h.w {
		if s.raw = s.raw || s.isBlind() || s.tunnelled(); s.raw {
			h.r = h.w
			s.link.unseen()
			return false
		}
		piece := s.framer.Next(h.unread())
		switch piece.Kind {
		case http1.Need:
			// A request line is never edited, so it goes as it comes: what
			// looks like the beginning of one may be all that another
			// protocol's client has to say for now.
			return s.framer.Holding()
		case http1.Head:
			s.head(h)
		case http1.Body:
			s.current.sent.Store(s.framer.Payload)
		case http1.Doubt:
			s.raw = true
			s.requestsEnd(string(s.framer.Reason))
		}
		h.r += piece.N
	}
	return false
}

// tunnelled decides, at the first byte after a request that asks for another
// protocol, what it is. Bytes that come before the answer are not looked at,
// and then neither is anything after them.
func (s *requests) tunnelled() bool {
	if s.asked == nil || !s.framer.AtStart() {
		return false
	}
	refused := s.early(s.asked)
	s.asked = nil
	return !refused
}

// head begins a request and edits its head.
func (s *requests) head(h *half) {
	m := &s.framer.Message
	request, edits := s.link.proxy.tracer.Begin(s.link.direction, s.link.head(m, s.link.destination))
	s.current = &pending{request: request, method: string(m.Method)}
	if m.Upgrade || s.current.method == "CONNECT" {
		s.asked = s.current
	}
	// It must be known before the server can answer it.
	if !s.push(s.current) {
		s.raw = true
	}
	h.edit(m, edits)
}

func (s *requests) over() {}

// head is what the tracer is told of a request.
func (l *link) head(m *http1.Message, server netip.AddrPort) trace.Head {
	return trace.Head{Method: m.Method, Target: m.Target, Fields: m.Fields(), Client: l.from, Server: server}
}

// responses looks at what an HTTP/1 server sends. All of it is written at once.
type responses struct {
	*exchange
	framer *http1.Framer
}

func (s *responses) digest(h *half) (hold bool) {
	for h.r < h.w {
		if s.isBlind() {
			h.r = h.w
			return false
		}
		front := s.front()
		if front == nil && s.framer.AtStart() {
			s.unsolicited()
			continue
		}
		if front == nil { // an abort has ended it meanwhile
			h.r = h.w
			return false
		}
		piece := s.framer.Next(h.unread())
		h.r += piece.N
		switch piece.Kind {
		case http1.Need:
			return false
		case http1.Head:
			s.head(front)
		case http1.Body:
			front.received.Store(s.framer.Payload)
			if piece.End {
				s.pop(front, "")
			}
		case http1.Doubt:
			s.blindFor(string(s.framer.Reason))
		}
	}
	return false
}

// head notes the answer to the request in front.
func (s *responses) head(front *pending) {
	status := s.framer.Message.Status
	switch s.framer.Answer(front.method) {
	case http1.Tunnel:
		s.tunnel(front, status)
	case http1.Ended:
		s.answer(front, status)
		s.pop(front, "")
	case http1.Final:
		s.answer(front, status)
	}
}

// over ends what the server will not answer any more.
func (s *responses) over() {
	if s.isBlind() {
		return
	}
	midway := !s.framer.AtStart()
	if front := s.front(); front != nil && s.framer.EOF() && midway {
		s.pop(front, "") // a response that ends with the connection
	}
	s.close(trace.ReasonClosed)
}
