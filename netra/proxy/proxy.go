// Package proxy passes redirected TCP connections on to where they were meant
// to go, and watches HTTP/1 and HTTP/2 go by.
//
//	p := proxy.New(proxy.Settings{Destination: proxy.OriginalDestination, …}, tracer, set)
//	err := p.Run(ctx, inbound, outbound, 10*time.Second)
//
// A connection's way: accept → original destination → guard → dial at once →
// relay. It belongs to one event loop (loop.go), a goroutine that waits for all
// its sockets at once: a sidecar has many connections and little to do on each,
// and waking a goroutine for each direction would cost more than the work.
//
// A link has two halves (half.go), one for each direction. A half reads what
// one end sent, lets a protocol look at it, and writes it to the other end
// before it reads again; so a slow receiver slows its sender, nothing is kept
// but an unfinished head and what one write left over, and protocols in which
// the server speaks first never wait.
//
// What a half's protocol sees is a window of unread bytes. The HTTP/1 protocol
// (http1.go) finds the heads in it, has the tracer give the fields to insert,
// and pairs responses with requests; at any doubt both halves become plain
// copies for the rest of the connection, with no byte lost or altered, and the
// reason is counted. Every other protocol is such a copy from its first byte;
// what it is, is told from the first bytes of both ends as they pass (sniff), and
// the connection as a whole has a span and counts (flow.go).
//
// Every connection begins as HTTP/1. Where a client's first bytes are HTTP/2's
// preface, a server's its SETTINGS, or where an upgrade to it is answered, the
// rest goes to a second pair of protocols (http2.go): a client's header blocks
// are edited, every other frame passes as it comes, and a table of streams takes
// the place of the queue of requests (streams.go).
//
// With Settings.Resolve, requests of HTTP/1 that the application makes may be
// routed (route.go): each to the server that its route names. The link then has
// several upstreams, of which one is in use (router.go). A head for another one
// is held until the answers before it are complete; an upstream that has answered
// everything is kept, idle, for the next request that goes there. What the server
// of a routed request does when idle, such as closing, is not the client's affair
// while the server that it meant is there.
//
// The ends see each other's behaviour: an end of stream becomes one, a reset
// becomes one.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

// Settings are what a Proxy is built from.
type Settings struct {
	// Destination finds out where the accepted connection with this descriptor
	// was meant to go.
	Destination func(fd int) (netip.AddrPort, error)
	// OwnPorts are netra's own; at any local address they are never dialled.
	OwnPorts []uint16
	// HTTPPorts are the destination ports on which HTTP is looked for; empty
	// means all.
	HTTPPorts []uint16
	// DialTimeout bounds how long a destination may take to accept.
	DialTimeout time.Duration
	// Loops is the number of event loops; 0: one for each processor, up to two.
	// A loop waits in the kernel with one of Go's processors (GOMAXPROCS) in its
	// hands, so there should be more of those.
	Loops int
	// Resolve looks up the hosts of routes; nil where requests are not routed.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Serving reports whether the application may still be sent connections;
	// nil: never, once there are none.
	Serving func() bool
	Logger  *slog.Logger
}

// Proxy proxies connections. Its methods may be called from any goroutine.
type Proxy struct {
	settings Settings
	tracer   *trace.Tracer
	metrics  *metrics.Set
	accept   func(listener int) (fd int, from netip.AddrPort, err error)
	maxOpen  int64

	open   atomic.Int64
	parked atomic.Int64 // upstreams of routed requests
	loops  []*loop
	next   atomic.Uint32 // counts the links, for their turn
}

// New returns a Proxy that serves nothing yet, and runs once. The error is the
// kernel's, where it has no descriptors left.
func New(settings Settings, tracer *trace.Tracer, set *metrics.Set) (*Proxy, error) {
	p := &Proxy{settings: settings, tracer: tracer, metrics: set, accept: acceptSocket, maxOpen: maxOpen(maxFiles(), settings.Resolve != nil)}
	loops := settings.Loops
	if loops == 0 {
		loops = DefaultLoops()
	}
	for range loops {
		l, err := newLoop(p)
		if err != nil {
			return nil, err
		}
		p.loops = append(p.loops, l)
	}
	return p, nil
}

// reservedFiles are for what is no proxied connection: listeners, the exporter,
// the admin port.
const reservedFiles = 64

// maxOpen returns how many connections fit into so many descriptors: two each,
// and where requests are routed as many again that are parked, and one that is
// being made. Beyond it clients wait to be accepted.
func maxOpen(files int, routed bool) int64 {
	each := 2
	if routed {
		each = 4
	}
	return int64(max(1, (files-reservedFiles)/each))
}

// maxLoops bounds the event loops: two take some 60,000 requests a second, and
// with more each finds less to do at a time.
const maxLoops = 2

// DefaultLoops returns how many event loops are of use on this machine.
func DefaultLoops() int { return min(maxLoops, runtime.GOMAXPROCS(0)) }

// Listen listens on a port of all addresses, IPv4 and IPv6.
func Listen(ctx context.Context, port int) (net.Listener, error) {
	var config net.ListenConfig
	// Redirection works on plain TCP; a multipath socket has no original
	// destination.
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("listening on port %d: %w", port, err)
	}
	return l, nil
}

// Run serves both listeners until ctx ends and the proxy has drained: it goes
// on to accept and to serve while any connection lives or the application is
// serving, for up to drain, because the application beside it may still be
// finishing its work, or be sent more as long as its address is known. Then it
// closes the listeners and resets what is left.
func (p *Proxy) Run(ctx context.Context, inbound, outbound net.Listener, drain time.Duration) error {
	var listeners []*listener
	for direction, l := range map[trace.Direction]net.Listener{trace.Inbound: inbound, trace.Outbound: outbound} {
		accepting, err := newListener(p.loops[0], l, direction)
		if err != nil {
			return err
		}
		listeners = append(listeners, accepting)
	}
	faults := make(chan error, len(p.loops))
	for _, l := range p.loops {
		go func() { faults <- l.run() }()
	}
	for _, a := range listeners {
		a.loop.post(a, a.start)
	}
	var err error
	left := len(p.loops)
	select {
	case <-ctx.Done():
		p.settings.Logger.Info("draining", "connections", p.Open(), "timeout", drain)
		p.drain(drain)
	case err = <-faults: // the kernel takes no more questions
		left--
	}
	// First no loop gives another one a link any more.
	var closing sync.WaitGroup
	for _, a := range listeners {
		closing.Add(1)
		a.loop.post(a, func() { a.close(); closing.Done() })
	}
	closing.Wait()
	for _, l := range p.loops {
		l.post(l, func() { l.stop(trace.ReasonShutdown) })
	}
	for range left {
		err = errors.Join(err, <-faults)
	}
	return err
}

// Open returns how many connections are being proxied.
func (p *Proxy) Open() int { return int(p.open.Load()) }

// drainPoll is how often drain looks; idle means twice in a row, since a
// client may be between two connections.
const drainPoll = 50 * time.Millisecond

func (p *Proxy) drain(timeout time.Duration) {
	deadline := time.Now().Add(timeout)
	for idle := 0; time.Now().Before(deadline); time.Sleep(min(drainPoll, time.Until(deadline))) {
		if p.Open() > 0 || p.settings.Serving != nil && p.settings.Serving() {
			idle = 0
		} else if idle++; idle > 1 {
			return
		}
	}
}

// abort resets every connection.
func (p *Proxy) abort() {
	for _, l := range p.loops {
		l.post(l, func() { l.abort(trace.ReasonShutdown) })
	}
}

// serve gives an accepted connection to a loop; here is the one that accepted.
func (p *Proxy) serve(here *loop, fd int, from netip.AddrPort, direction trace.Direction) {
	l := &link{proxy: p, direction: direction, side: &p.metrics.Inbound, from: from}
	if direction == trace.Outbound {
		l.side = &p.metrics.Outbound
	}
	l.client = end{link: l, fd: fd}
	l.home = end{link: l, fd: -1}
	l.server = &l.home
	tune(fd)
	l.side.Connections.Add(1)
	l.side.Open.Add(1)
	p.open.Add(1)
	l.loop = p.loops[int(p.next.Add(1))%len(p.loops)]
	if l.loop == here {
		l.loop.call(&l.client, l.begin)
	} else {
		l.loop.post(&l.client, l.begin)
	}
}

// follows reports whether HTTP is looked for on connections to this port.
func (p *Proxy) follows(port uint16) bool {
	return len(p.settings.HTTPPorts) == 0 || slices.Contains(p.settings.HTTPPorts, port)
}
