package proxy

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/netra/proxy/http1"
	"github.com/formicarium/formicarium/netra/trace"
)

// unreachableWait is how long a client whose destination cannot be reached may
// take to send its request: an HTTP client sends it at once.
const unreachableWait = 100 * time.Millisecond

// unreachable ends a connection whose destination could not be dialled. That
// cannot be told any more, the connection being accepted; the nearest is to
// reset it. But a call that fails for this is what one looks for in a trace, so
// the request is read first.
func (l *link) unreachable(destination netip.AddrPort, reason string) {
	defer reset(l.client)
	if !l.proxy.follows(destination.Port()) {
		return
	}
	r, err := newReader(l.client)
	if err != nil {
		return
	}
	defer r.free()
	l.client.SetReadDeadline(time.Now().Add(unreachableWait))
	framer := http1.NewFramer(http1.Request)
	for {
		switch framer.Next(r.unread()).Kind {
		case http1.Need:
			if r.read() != nil {
				return
			}
		case http1.Head:
			request, _ := l.proxy.tracer.Begin(l.direction, l.head(&framer.Message, destination))
			request.End(trace.Result{Reason: "destination " + reason, Unsent: true})
			return
		default:
			return
		}
	}
}

// dialReason puts a failure to dial into a word.
func dialReason(err error) string {
	var netErr net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "too_many_files"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "no_port"
	case errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	}
	return "other"
}
