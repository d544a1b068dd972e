package proxy

import (
	"iter"

	"github.com/formicarium/formicarium/netra/proxy/http1"
	"github.com/formicarium/formicarium/netra/proxy/http2"
	"github.com/formicarium/formicarium/netra/trace"
)

// requests looks at what an HTTP/1 client sends.
type requests struct {
	*exchange
	framer  *http1.Framer
	fields  iter.Seq2[[]byte, []byte] // of the framer's message, whichever that is
	current *pending                  // whose body is passing, or was the last to
	asked   *pending                  // waits for the answer to CONNECT or Upgrade
	raw     bool                      // the rest is only copied
	inBody  bool                      // a request's body is passing
	frames  *clientFrames             // the rest is HTTP/2
}

func (s *requests) digest(h *half) (hold bool) {
	for h.r < h.w {
		if h.waiting {
			if !s.resume(h) {
				return true
			}
			continue
		}
		if s.frames != nil || s.upgraded() {
			return s.frames.digest(h)
		}
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
			return s.framer.Holding() || s.link.router != nil && h.done <= h.r && s.framer.Likely()
		case http1.Head:
			s.inBody = !piece.End
			if s.head(h, piece.N) {
				continue
			}
		case http1.Body:
			s.inBody = !piece.End
			s.current.sent = s.framer.Payload
		case http1.Doubt:
			if s.link.router != nil && !s.inBody && s.divert(h, held{}) {
				continue
			}
			if s.framer.Reason == http1.ReasonHTTP2 {
				s.frames = newClientFrames(s.beginHTTP2())
				continue
			}
			s.raw = true
			s.requestsEnd(string(s.framer.Reason))
		}
		h.r += piece.N
	}
	return false
}

// upgraded decides, at the first byte after a request, whether the server has
// agreed to go on as HTTP/2.
func (s *requests) upgraded() bool {
	if s.asked == nil || !s.asked.h2c || !s.framer.AtStart() {
		return false
	}
	if s.streams == nil {
		return false
	}
	s.frames = newClientFrames(s.streams)
	return true
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

// head begins a request and edits its head, of n bytes, unless it is held.
func (s *requests) head(h *half, n int) (isHeld bool) {
	m := &s.framer.Message
	if s.fields == nil {
		s.fields = m.Fields()
	}
	request, edits := s.link.proxy.tracer.Begin(s.link.direction, s.link.head(m, s.fields))
	if s.current == nil || s.current.request != nil || s.asked != nil {
		s.current = new(pending)
	}
	*s.current = pending{request: request, method: methodName(m.Method)}
	if m.Upgrade || s.current.method == "CONNECT" {
		s.asked = s.current
	}
	if m.Upgrade {
		s.current.settings, s.current.h2c = http2.UpgradeRequest(m.Fields())
	}
	if s.link.router != nil && s.divert(h, held{pending: s.current, edits: edits, n: n}) {
		return true
	}
	s.send(h, edits)
	return false
}

// send edits the head at the window's r.
func (s *requests) send(h *half, edits []trace.Edit) {
	h.edit(&s.framer.Message, edits) // while the request has not ended, and so the edits are valid
	// It must be known before the server can answer it.
	if !s.push(s.current) {
		s.raw = true
	}
}

func (s *requests) over() {}

// head is what the tracer is told of a request.
func (l *link) head(m *http1.Message, fields iter.Seq2[[]byte, []byte]) trace.Head {
	return trace.Head{Method: m.Method, Target: m.Target, Fields: fields, Client: l.from, Server: l.destination}
}

// methodName returns a method as a string, which for common ones is there.
func methodName(method []byte) string {
	for _, m := range [...]string{"GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"} {
		if string(method) == m {
			return m
		}
	}
	return string(method)
}

// responses looks at what an HTTP/1 server sends. All of it is written at once,
// but for what a routed request's server says unasked.
type responses struct {
	*exchange
	framer *http1.Framer
	frames *serverFrames // the rest is HTTP/2
}

func (s *responses) digest(h *half) (hold bool) {
	for h.r < h.w {
		if s.isBlind() {
			h.r = h.w
			return false
		}
		if s.isHTTP2() {
			return s.frames.digest(h)
		}
		front := s.front()
		if front == nil && s.framer.AtStart() {
			if s.link.router.lose() {
				h.w = h.r // it answers nothing
				return true
			}
			switch greets, sure := http2.Greets(h.unread()); {
			case greets && !sure:
				return false
			case greets && s.greeted():
				continue
			}
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
			front.received = s.framer.Payload
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
	if s.link.router != nil {
		s.link.router.answered(&s.framer.Message)
	}
	switch s.framer.Answer(front.method) {
	case http1.Tunnel:
		if !front.h2c || !http2.UpgradeResponse(s.framer.Message.Fields()) || !s.upgrade(front) {
			s.tunnel(front, status)
		}
	case http1.Ended:
		s.answer(front, status)
		s.pop(front, "")
	case http1.Final:
		s.answer(front, status)
	}
}

// isHTTP2 reports whether the connection has become one of HTTP/2.
func (s *responses) isHTTP2() bool {
	if s.frames == nil {
		if s.streams == nil {
			return false
		}
		s.frames = newServerFrames(s.streams)
	}
	return true
}

// over ends what the server will not answer any more.
func (s *responses) over() {
	if s.isBlind() {
		return
	}
	if s.isHTTP2() {
		s.close(trace.ReasonClosed)
		return
	}
	midway := !s.framer.AtStart()
	if front := s.front(); front != nil && s.framer.EOF() && midway {
		s.pop(front, "") // a response that ends with the connection
	}
	s.close(trace.ReasonClosed)
}
