package proxy

import (
	"syscall"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/proxy/http1"
	"github.com/formicarium/formicarium/netra/proxy/http2"
	"github.com/formicarium/formicarium/netra/trace"
)

// unreachableWait is how long a client whose destination cannot be reached may
// take to send its request: an HTTP client sends it at once.
const unreachableWait = 100 * time.Millisecond

// lost reads the request of a client whose destination could not be dialled.
type lost struct {
	window
	link     *link
	reason   string
	framer   *http1.Framer
	follower *http2.Follower // once it is HTTP/2
}

// unreachable ends a connection whose destination could not be dialled. That
// cannot be told any more, the connection being accepted; the nearest is to
// reset it. But a call that fails for this is what one looks for in a trace, so
// the request is read first. Of a client that sends none, the connection has
// failed; one that waits for the server to speak says nothing.
func (l *link) unreachable(err error) {
	reason := dialReason(err)
	l.proxy.metrics.DialErrors.Add(metrics.Cause{Direction: l.direction.String(), Reason: reason}, 1)
	l.proxy.settings.Logger.Debug("dialling", "direction", l.direction, "to", l.destination, "error", err)
	if l.timer != nil {
		l.timer.Stop()
	}
	l.closeEnd(l.server, true)
	if !l.proxy.follows(l.destination.Port()) {
		l.flow.unreachable(nil, reason)
		l.finish(true)
		return
	}
	l.phase = failing
	l.lost = &lost{link: l, reason: reason, framer: http1.NewFramer(http1.Request)}
	l.timer = l.loop.after(unreachableWait, &l.client, func() {
		if l.phase == failing {
			l.lost.end()
		}
	})
	l.lost.look()
}

// look reads on, and ends the link when there is a request or cannot be one.
func (s *lost) look() {
	l := s.link
	for l.client.readable {
		n, err := readSocket(l.client.fd, s.room(l.loop.scratch))
		if err == syscall.EAGAIN {
			l.client.readable = false
			s.keep()
			return
		}
		if err != nil || n == 0 {
			s.end()
			return
		}
		s.w += n
		request, more := s.request()
		switch {
		case l.phase == relaying: // elsewhere
			return
		case request != nil:
			request.End(trace.Result{Reason: "destination " + s.reason, Unsent: true})
			s.release()
			l.finish(true)
			return
		case !more:
			s.end()
			return
		}
	}
}

// request begins the client's request if it is there; more says that it may
// still come.
func (s *lost) request() (request *trace.Request, more bool) {
	if s.follower != nil {
		return s.stream()
	}
	piece := s.framer.Next(s.unread())
	switch piece.Kind {
	case http1.Need:
		return nil, true
	case http1.Head:
		request, edits := s.link.proxy.tracer.Begin(s.link.direction, s.link.head(&s.framer.Message, s.framer.Message.Fields()))
		if request.Upstream().Host != "" && s.link.proxy.settings.Resolve != nil {
			s.reroute(request, edits, piece)
		}
		return request, false
	}
	if s.framer.Reason != http1.ReasonHTTP2 {
		return nil, false
	}
	s.follower = http2.NewFollower(http2.Client)
	return s.stream()
}

// stream does the same where the client speaks HTTP/2: the request is the first
// stream, which most clients open at once.
func (s *lost) stream() (request *trace.Request, more bool) {
	for {
		piece := s.follower.Next(s.unread())
		switch piece.Kind {
		case http2.Need:
			return nil, true
		case http2.Block:
			fields, err := http2.NewDecoder().Decode(s.follower.Block.Content(s.unread()), http2.DefaultTableSize)
			var x headFields
			head, ok := x.of(fields)
			if !ok || err != nil {
				return nil, false
			}
			head.Client, head.Server = s.link.from, s.link.destination
			request, _ = s.link.proxy.tracer.Begin(s.link.direction, head)
			return request, false
		case http2.Doubt:
			return nil, false
		}
		s.r += piece.N
		s.done = s.r
	}
}

// end ends the link of a client that has sent no request.
func (s *lost) end() {
	s.link.flow.unreachable(s.unread(), s.reason)
	s.release()
	s.link.finish(true)
}
