package proxy

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/proxy/http1"
	"github.com/formicarium/formicarium/netra/trace"
)

// link is one proxied connection: a client's, accepted, and one to the server
// that the client meant. Only its loop touches it.
type link struct {
	proxy       *Proxy
	loop        *loop
	direction   trace.Direction
	side        *metrics.Side
	client      end
	home        end  // to the server that the client meant
	server      *end // the one in use: home, unless a request is routed
	router      *router
	from        netip.AddrPort // the client's address
	destination netip.AddrPort
	http        *exchange // nil where HTTP is not looked for
	flow        flow
	up, down    half // from the client, from the server
	phase       phase
	relayed     bool        // the server was reached
	lost        *lost       // it was not
	timer       *time.Timer // of the phase
	downEnded   bool        // the server's stream has ended
	serverDead  bool        // writing to the server failed
}

type phase uint8

const (
	connecting phase = iota
	relaying
	failing // the destination could not be reached; see lost
	dying   // to be reset when the client has what was written
	closed
)

// end is one of a link's two sockets.
type end struct {
	link *link
	fd   int // -1: there is none
	// What is known of the socket; the poller tells when it changes.
	readable, writable bool
	hung               bool // the other end's stream has ended or is broken
	aside              bool // of a router's, and not in use
}

// ready implements source.
func (e *end) ready(events uint32) {
	l := e.link
	e.hung = e.hung || events&hasHung != 0
	if events&canRead != 0 {
		e.readable = true
	}
	if e.aside {
		l.router.ready(e, events)
		return
	}
	if events&canWrite != 0 && !e.writable {
		e.writable = true
		l.writable(e)
	}
	if events&canRead != 0 {
		l.canRead(e, events&isBroken != 0)
	}
}

// fault implements source.
func (e *end) fault() { e.link.abort(trace.ReasonShutdown) }

// begin dials the destination.
func (l *link) begin() {
	l.loop.links[l] = struct{}{}
	if l.loop.closing {
		l.finish(true)
		return
	}
	if err := l.loop.register(l.client.fd, &l.client); err != nil {
		l.proxy.settings.Logger.Warn("taking a connection", "error", err)
		l.finish(true)
		return
	}
	destination, err := l.proxy.settings.Destination(l.client.fd)
	if reason := l.proxy.refuse(localAddr(l.client.fd), destination, err); reason != "" {
		l.proxy.metrics.Refused.Add(metrics.Cause{Direction: l.direction.String(), Reason: reason}, 1)
		l.proxy.settings.Logger.Debug("refusing a connection", "direction", l.direction, "from", l.from, "to", destination, "reason", reason, "error", err)
		l.finish(true)
		return
	}
	l.destination = destination
	l.flow.open(l, destination)
	fd, err := connectSocket(destination, l.source())
	if err != nil {
		l.unreachable(err)
		return
	}
	l.home.fd = fd
	if err := l.loop.register(fd, &l.home); err != nil {
		l.unreachable(err)
		return
	}
	l.timer = l.loop.after(l.proxy.settings.DialTimeout, &l.client, func() {
		if l.phase == connecting {
			l.unreachable(syscall.ETIMEDOUT)
		}
	})
}

// Source addresses of connections to the application. They are not the pod's
// own: a connection whose client closes first leaves its port unusable for a
// minute, towards this one destination, and at some 250 such connections a
// second there is none left; only between loopback addresses does Linux use
// the port again (tcp_tw_reuse). Nor is it 127.0.0.1, which programs take for
// somebody at the machine itself.
var (
	loopbackSource4 = netip.MustParseAddr("127.0.0.6")
	loopbackSource6 = netip.IPv6Loopback()
)

func (l *link) source() netip.Addr {
	switch to := l.destination.Addr(); {
	case l.direction != trace.Inbound, to.IsLinkLocalUnicast():
		return netip.Addr{}
	case to.Unmap().Is4():
		return loopbackSource4
	default:
		return loopbackSource6
	}
}

// connected begins to relay.
func (l *link) connected() {
	if err := connectResult(l.server.fd); err != nil {
		l.unreachable(err)
		return
	}
	l.relay()
	l.down.pump()
	l.up.pump()
}

// relay makes the halves ready.
func (l *link) relay() {
	l.timer.Stop()
	l.timer = nil
	l.phase, l.relayed = relaying, true
	if l.proxy.follows(l.destination.Port()) {
		l.http = &exchange{link: l}
	}
	l.up = half{link: l, from: &l.client, to: l.server, bytes: &l.side.RequestBytes}
	l.down = half{link: l, from: l.server, to: &l.client, bytes: &l.side.ResponseBytes, down: true}
	l.up.protocol, l.down.protocol = l.protocols()
}

// protocols chooses what looks at the two directions.
func (l *link) protocols() (up, down protocol) {
	if l.http == nil {
		l.flow.giveUp()
		return l.flow.watch(nil, nil)
	}
	requests := &requests{exchange: l.http, framer: http1.NewFramer(http1.Request)}
	if l.direction == trace.Outbound && l.proxy.settings.Resolve != nil {
		l.router = newRouter(l, requests)
	}
	return l.flow.watch(requests,
		&responses{exchange: l.http, framer: http1.NewFramer(http1.Response)})
}

// canRead is called when one end has something to be read; broken says that it
// is gone.
func (l *link) canRead(e *end, broken bool) {
	switch l.phase {
	case relaying:
		if e == &l.client && broken && len(l.up.rest) > 0 {
			// What it sent last cannot be read before there is room for it,
			// which may never be.
			l.abort(trace.ReasonClientReset)
			return
		}
		e.reads().pump()
	case failing:
		l.lost.look()
	case dying:
		if e == &l.client && e.hung { // it waits for nothing any more
			l.finish(true)
		}
	}
}

// writable is called when one end has room again, or is connected.
func (l *link) writable(e *end) {
	switch l.phase {
	case connecting:
		if e == l.server {
			l.connected()
		}
	case relaying:
		e.writes().pump()
	case dying:
		if e == &l.client {
			l.down.flushRest()
		}
	}
}

// reads and writes return the halves that read from an end and write to it.
func (e *end) reads() *half {
	if e == &e.link.client {
		return &e.link.up
	}
	return &e.link.down
}

func (e *end) writes() *half {
	if e == &e.link.client {
		return &e.link.down
	}
	return &e.link.up
}

// ended notes that the server's stream has ended. Where the server does not
// take what the client sends either, it is gone altogether.
func (l *link) ended() {
	l.downEnded = true
	if l.serverDead {
		l.abort(trace.ReasonReset)
	}
}

// serverGone notes that the server does not take what the client sends, and
// reports whether its stream has ended, too.
func (l *link) serverGone() bool {
	l.serverDead = true
	if l.downEnded {
		l.abort(trace.ReasonReset)
	}
	return l.downEnded
}

// abort resets both connections and finishes the requests in flight for this
// reason.
func (l *link) abort(reason string) {
	if l.phase == dying && reason == trace.ReasonShutdown {
		l.finish(true)
	}
	if l.phase == dying || l.phase == closed {
		return
	}
	l.flow.aborted(reason)
	if l.http != nil {
		l.http.close(reason)
	}
	// What was written before is to arrive before the reset does.
	if l.phase == relaying && (reason == trace.ReasonReset || reason == trace.ReasonTimeout) {
		l.die(time.Millisecond, time.Now().Add(dieLimit))
		return
	}
	l.finish(true)
}

// dieLimit is how long a slow receiver may take before it is reset.
const dieLimit = time.Second

// die resets the client when it has received everything that was written, for a
// reset throws away what is still to be sent.
func (l *link) die(pause time.Duration, deadline time.Time) {
	l.phase = dying
	l.closeEnd(l.server, true)
	l.down.flushRest()
	if len(l.down.rest) == 0 && unsentBytes(l.client.fd) == 0 || time.Now().After(deadline) {
		l.finish(true)
		return
	}
	l.timer = l.loop.after(pause, &l.client, func() {
		if l.phase == dying {
			l.die(min(2*pause, 50*time.Millisecond), deadline)
		}
	})
}

// halfDone is called when a half has passed its stream's end on.
func (l *link) halfDone() {
	if l.up.passed && l.down.passed {
		l.finish(false)
	}
}

// finish closes both connections.
func (l *link) finish(reset bool) {
	if l.phase == closed {
		return
	}
	l.phase = closed
	if l.http != nil {
		l.http.close(trace.ReasonClosed)
	}
	if l.relayed {
		l.flow.end()
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	l.closeEnd(&l.client, reset)
	l.closeEnd(l.server, reset)
	if l.router != nil {
		l.router.close()
	}
	l.up.release()
	l.down.release()
	if _, mine := l.loop.links[l]; mine {
		delete(l.loop.links, l)
		l.side.Open.Add(-1)
		l.proxy.open.Add(-1)
	}
}

func (l *link) closeEnd(e *end, reset bool) {
	if e.fd < 0 {
		return
	}
	l.loop.forget(e.fd)
	closeSocket(e.fd, reset)
	e.fd = -1
}

// wake makes the half that reads from the client look at its window again.
func (l *link) wake() { l.up.later() }

func (l *link) unseen() {
	if l.direction == trace.Inbound {
		l.proxy.tracer.Unseen()
	}
}

// dialReason puts a failure to dial into a word.
func dialReason(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "too_many_files"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "no_port"
	case errors.Is(err, syscall.ETIMEDOUT):
		return "timeout"
	}
	return "other"
}
