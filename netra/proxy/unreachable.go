package proxy

import (
	"syscall"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/proxy/http1"
	"github.com/formicarium/formicarium/netra/trace"
)

// unreachableWait is how long a client whose destination cannot be reached may
// take to send its request: an HTTP client sends it at once.
const unreachableWait = 100 * time.Millisecond

// lost reads the request of a client whose destination could not be dialled.
type lost struct {
	window
	link   *link
	reason string
	framer *http1.Framer
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
	l.closeEnd(&l.server, true)
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
		switch s.framer.Next(s.unread()).Kind {
		case http1.Need:
		case http1.Head:
			request, _ := l.proxy.tracer.Begin(l.direction, l.head(&s.framer.Message, l.destination))
			request.End(trace.Result{Reason: "destination " + s.reason, Unsent: true})
			s.release()
			l.finish(true)
			return
		default:
			s.end()
			return
		}
	}
}

// end ends the link of a client that has sent no request.
func (s *lost) end() {
	s.link.flow.unreachable(s.unread(), s.reason)
	s.release()
	s.link.finish(true)
}
