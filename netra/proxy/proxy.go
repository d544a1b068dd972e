// Package proxy passes redirected TCP connections on to where they were meant
// to go, and watches HTTP/1 go by.
//
//	p := proxy.New(proxy.Settings{Destination: proxy.OriginalDestination, …}, tracer, set)
//	err := p.Run(ctx, inbound, outbound, 10*time.Second)
//
// A connection's way: accept → original destination → guard → dial at once →
// two halves, one goroutine each. A half reads what one end sent, lets a
// protocol look at it, and writes it to the other end before it reads again; so
// a slow receiver slows its sender, nothing is kept but an unfinished head, and
// protocols in which the server speaks first never wait.
//
// What a half's protocol sees is a window of unread bytes. The HTTP/1 protocol
// (http1.go) finds the heads in it, has the tracer give the fields to insert,
// and pairs responses with requests; at any doubt both halves become plain
// copies for the rest of the connection, with no byte lost or altered, and the
// reason is counted. Every other protocol is such a copy from its first byte.
// A protocol that is to be understood as well is one more pair of
// implementations of protocol, chosen where the first bytes are known.
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
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

// Settings are what a Proxy is built from.
type Settings struct {
	// Destination finds out where an accepted connection was meant to go.
	Destination func(net.Conn) (netip.AddrPort, error)
	// OwnPorts are netra's own; at any local address they are never dialled.
	OwnPorts []uint16
	// HTTPPorts are the destination ports on which HTTP is looked for; empty
	// means all.
	HTTPPorts []uint16
	// DialTimeout bounds how long a destination may take to accept.
	DialTimeout time.Duration
	Logger      *slog.Logger
}

// Proxy proxies connections. Its methods may be called from any goroutine.
type Proxy struct {
	settings Settings
	tracer   *trace.Tracer
	metrics  *metrics.Set
	dialer   net.Dialer

	mu    sync.Mutex
	links map[*link]struct{}
	ended sync.WaitGroup
}

// New returns a Proxy that serves nothing yet.
func New(settings Settings, tracer *trace.Tracer, set *metrics.Set) *Proxy {
	return &Proxy{
		settings: settings,
		tracer:   tracer,
		metrics:  set,
		dialer:   net.Dialer{Timeout: settings.DialTimeout},
		links:    map[*link]struct{}{},
	}
}

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
// on to accept and to serve while any connection lives, for up to drain,
// because the application beside it may still be finishing its work. Then it
// closes the listeners and resets what is left.
func (p *Proxy) Run(ctx context.Context, inbound, outbound net.Listener, drain time.Duration) error {
	dialling, stopDialling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopDialling()
	var accepting sync.WaitGroup
	accepting.Go(func() { p.accept(dialling, inbound, trace.Inbound) })
	accepting.Go(func() { p.accept(dialling, outbound, trace.Outbound) })

	<-ctx.Done()
	p.settings.Logger.Info("draining", "connections", p.Open(), "timeout", drain)
	p.drain(drain)
	err := errors.Join(inbound.Close(), outbound.Close())
	accepting.Wait()
	stopDialling()
	p.abort()
	p.ended.Wait()
	return err
}

// Open returns how many connections are being proxied.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// drainPoll is how often drain looks; idle means twice in a row, since a
// client may be between two connections.
const drainPoll = 50 * time.Millisecond

func (p *Proxy) drain(timeout time.Duration) {
	deadline := time.Now().Add(timeout)
	for idle := 0; time.Now().Before(deadline); time.Sleep(min(drainPoll, time.Until(deadline))) {
		if p.Open() > 0 {
			idle = 0
		} else if idle++; idle > 1 {
			return
		}
	}
}

func (p *Proxy) abort() {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		l.abort(trace.ReasonShutdown)
	}
}

// Pauses after a failure to accept. The common one is that no descriptor is
// left, which ends when a connection does.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// accept serves a listener until it is closed.
func (p *Proxy) accept(ctx context.Context, listener net.Listener, direction trace.Direction) {
	pause := firstPause
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.metrics.AcceptError.Add(1)
			p.settings.Logger.Warn("accepting a connection", "direction", direction, "error", err, "pause", pause)
			time.Sleep(pause)
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			conn.Close()
			continue
		}
		l := p.newLink(tcp, direction)
		p.ended.Go(func() { p.serve(ctx, l) })
	}
}

func (p *Proxy) newLink(conn *net.TCPConn, direction trace.Direction) *link {
	l := &link{proxy: p, direction: direction, side: &p.metrics.Inbound, client: conn}
	if direction == trace.Outbound {
		l.side = &p.metrics.Outbound
	}
	l.side.Connections.Add(1)
	l.side.Open.Add(1)
	p.mu.Lock()
	p.links[l] = struct{}{}
	p.mu.Unlock()
	return l
}

// serve proxies one connection to its end.
func (p *Proxy) serve(ctx context.Context, l *link) {
	defer func() {
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
		l.side.Open.Add(-1)
	}()
	defer l.contain()
	destination, err := p.settings.Destination(l.client)
	if reason := p.refuse(l.client, destination, err); reason != "" {
		p.metrics.Refused.Add(metrics.Cause{Direction: l.direction.String(), Reason: reason}, 1)
		p.settings.Logger.Debug("refusing a connection", "direction", l.direction, "from", l.client.RemoteAddr(), "to", destination, "reason", reason, "error", err)
		reset(l.client)
		return
	}
	server, err := p.dialer.DialContext(ctx, "tcp", destination.String())
	if err != nil {
		p.metrics.DialErrors.Add(metrics.Cause{Direction: l.direction.String(), Reason: dialReason(err)}, 1)
		p.settings.Logger.Debug("dialling", "direction", l.direction, "to", destination, "error", err)
		l.unreachable(destination, dialReason(err))
		return
	}
	l.run(server.(*net.TCPConn), destination)
}

// contain keeps a fault in one connection from ending the process.
func (l *link) contain() {
	if fault := recover(); fault != nil {
		l.proxy.metrics.Panics.Add(1)
		l.proxy.settings.Logger.Error("a connection ended by a fault", "fault", fault, "stack", string(debug.Stack()))
		l.abort(trace.ReasonShutdown)
	}
}

// follows reports whether HTTP is looked for on connections to this port.
func (p *Proxy) follows(port uint16) bool {
	return len(p.settings.HTTPPorts) == 0 || slices.Contains(p.settings.HTTPPorts, port)
}
