package proxy

import (
	"context"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

// maxParked bounds the idle upstreams of one link: a client has few routes for
// one service.
const maxParked = 4

// router changes the upstream of a link. One upstream is in use (link.server),
// one may be coming, the others are parked: open, idle, for when a request goes
// there again.
type router struct {
	link     *link
	requests *requests
	current  *upstream   // in use; its descriptor is -1 where it was lost while another is awaited
	parked   []*upstream // the longest idle first
	coming   *coming     // nil: none
}

// upstream is a connection to a server.
type upstream struct {
	*end
	to      trace.Upstream // the zero one: where the client meant to go
	address netip.AddrPort
	last    bool // it ends after the answer that is awaited
}

// coming is an upstream that is being made.
type coming struct {
	*upstream
	addresses []netip.Addr // that are left to be tried
	arrived   bool
	cancel    context.CancelFunc
	timer     *time.Timer
}

func newRouter(l *link, s *requests) *router {
	return &router{link: l, requests: s, current: &upstream{end: &l.home, address: l.destination}}
}

func (r *router) isHome(u *upstream) bool { return u.to == trace.Upstream{} }

// reach puts this upstream in use, and reports false where that must wait: the
// link is then woken, or it ends.
func (r *router) reach(to trace.Upstream) bool {
	if r.current.to == to && r.current.fd >= 0 {
		return true
	}
	if r.coming == nil {
		if u := r.take(to); u != nil {
			r.enter(u)
			return true
		}
		r.dial(to)
		return false
	}
	if !r.coming.arrived {
		return false
	}
	u := r.coming.upstream
	r.coming = nil
	r.enter(u)
	return true
}

// take returns an upstream that is parked, if it still lives.
func (r *router) take(to trace.Upstream) *upstream {
	i := slices.IndexFunc(r.parked, func(u *upstream) bool { return u.to == to })
	if i < 0 {
		return nil
	}
	u := r.parked[i]
	r.unpark(i)
	if !quietSocket(u.fd) {
		r.link.closeEnd(u.end, false)
		return nil
	}
	return u
}

// enter puts an upstream in use, and parks the one before.
func (r *router) enter(u *upstream) {
	l := r.link
	if r.current.fd >= 0 {
		r.park(r.current)
	}
	r.current = u
	u.aside = false
	l.server, l.up.to, l.down.from = u.end, u.end, u.end
	l.up.sink, l.serverDead = false, false
	if u.readable { // it speaks first
		l.down.later()
	}
}

// park keeps an upstream that has answered everything.
func (r *router) park(u *upstream) {
	p := r.link.proxy
	if u.last || !quietSocket(u.fd) || p.parked.Load() >= p.maxOpen {
		r.link.closeEnd(u.end, false)
		return
	}
	if len(r.parked) == maxParked {
		r.discard(0)
	}
	u.aside, u.readable = true, false
	r.parked = append(r.parked, u)
	p.parked.Add(1)
}

func (r *router) unpark(i int) {
	r.parked = slices.Delete(r.parked, i, i+1)
	r.link.proxy.parked.Add(-1)
}

// discard closes a parked upstream.
func (r *router) discard(i int) {
	u := r.parked[i]
	r.unpark(i)
	r.link.closeEnd(u.end, false)
}

// ready is called at a change of an upstream that is not in use.
func (r *router) ready(e *end, events uint32) {
	e.writable = e.writable || events&canWrite != 0
	if c := r.coming; c != nil && e == c.end {
		if e.writable && !c.arrived {
			r.arrive()
		}
		return
	}
	if events&canRead == 0 {
		return
	}
	// An idle server has nothing to say but that it closes.
	if i := slices.IndexFunc(r.parked, func(u *upstream) bool { return u.end == e }); i >= 0 {
		r.discard(i)
	}
}

// lose is called where the upstream in use says something that answers no
// request, or its stream has ended or is broken. It reports whether the link goes
// on without it. That is so where it was a routed request's, idle, and the server
// that the client meant is still there: the client had nothing to do with the
// other one. And it is so where another one is awaited.
func (r *router) lose() bool {
	if r == nil {
		return false
	}
	l := r.link
	if l.up.ended || l.up.sink || l.phase != relaying || l.http.isBlind() || len(l.http.queue) > 0 || r.requests.inBody && !l.up.waiting || r.current.last {
		return false
	}
	if !l.up.waiting {
		if r.isHome(r.current) {
			return false
		}
		home := r.take(trace.Upstream{})
		if home == nil {
			return false
		}
		l.closeEnd(r.current.end, false)
		r.enter(home)
		return true
	}
	l.closeEnd(r.current.end, false)
	r.current.readable = false
	return true
}

// dial begins to connect to an upstream.
func (r *router) dial(to trace.Upstream) {
	l := r.link
	timeout := l.proxy.settings.DialTimeout
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	c := &coming{upstream: &upstream{end: &end{link: l, fd: -1, aside: true}, to: to}, cancel: cancel}
	r.coming = c
	c.timer = l.loop.after(timeout, &l.client, func() {
		if r.coming == c && !c.arrived {
			r.fail(dialReason(syscall.ETIMEDOUT))
		}
	})
	address, err := netip.ParseAddr(to.Host)
	switch {
	case r.isHome(c.upstream):
		r.try([]netip.Addr{l.destination.Addr()}, nil)
	case err == nil:
		r.try([]netip.Addr{address}, nil)
	default:
		go func() {
			addresses, err := l.proxy.settings.Resolve(ctx, to.Host)
			l.loop.post(&l.client, func() {
				if r.coming != c {
					return
				}
				if err != nil || len(addresses) == 0 {
					l.proxy.settings.Logger.Debug("looking up a route", "host", to.Host, "error", err)
					r.fail("unresolved")
					return
				}
				r.try(addresses, nil)
			})
		}()
	}
}

// try connects to the first address that takes it; err is why the one before did
// not.
func (r *router) try(addresses []netip.Addr, err error) {
	l, c := r.link, r.coming
	port := c.to.Port
	if r.isHome(c.upstream) {
		port = l.destination.Port()
	}
	for len(addresses) > 0 {
		c.address = netip.AddrPortFrom(addresses[0], port)
		addresses = addresses[1:]
		if reason := l.proxy.refuse(localAddr(l.client.fd), c.address, nil); reason != "" {
			l.proxy.metrics.Refused.Add(metrics.Cause{Direction: l.direction.String(), Reason: reason}, 1)
			r.fail(reason)
			return
		}
		var fd int
		if fd, err = connectSocket(c.address, netip.Addr{}); err != nil {
			continue
		}
		if err = l.loop.register(fd, c.end); err != nil {
			closeSocket(fd, true)
			continue
		}
		c.fd, c.addresses = fd, addresses
		return
	}
	r.fail(dialReason(err))
}

// arrive is called when it is decided whether the upstream that is coming is
// connected.
func (r *router) arrive() {
	c := r.coming
	if err := connectResult(c.fd); err != nil {
		r.link.closeEnd(c.end, true)
		c.readable, c.writable, c.hung = false, false, false
		r.try(c.addresses, err)
		return
	}
	c.arrived = true
	c.timer.Stop()
	c.cancel()
	r.link.wake()
}

// fail ends the link, whose request cannot be sent: the client sees what it would
// see of an unreachable server.
func (r *router) fail(reason string) {
	l, c, x := r.link, r.coming, r.link.http
	l.proxy.metrics.DialErrors.Add(metrics.Cause{Direction: l.direction.String(), Reason: reason}, 1)
	l.proxy.settings.Logger.Debug("dialling a route", "host", c.to.Host, "to", c.address, "reason", reason)
	if x.held != nil && x.held.pending != nil {
		request := x.held.pending.request
		if !r.isHome(c.upstream) {
			request.Routed(c.address)
			r.count(trace.RouteFailed)
		}
		request.End(trace.Result{Reason: "destination " + reason, Unsent: true})
		x.held = nil
	}
	r.giveUp()
	l.abort(trace.ReasonReset)
}

// clear closes what is parked.
func (r *router) clear() {
	for r != nil && len(r.parked) > 0 {
		r.discard(len(r.parked) - 1)
	}
}

// close closes all upstreams but the one in use.
func (r *router) close() {
	r.clear()
	r.giveUp()
}

// giveUp closes what is coming.
func (r *router) giveUp() {
	if c := r.coming; c != nil {
		r.coming = nil
		c.cancel()
		c.timer.Stop()
		r.link.closeEnd(c.end, true)
	}
}
