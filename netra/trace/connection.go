package trace

import (
	"net/netip"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// Connection is a connection that carries no requests which netra can follow.
// Its methods are called by one goroutine at a time.
type Connection struct {
	tracer    *Tracer
	direction Direction
	server    netip.AddrPort
	start     time.Time
	over      time.Time // zero: not before End
	parent    Context
	link      Link
	carried   Carried
	labels    metrics.Connection
	named     bool
}

// Carried is what a connection's first bytes say of it.
type Carried struct {
	// Protocol is its name in lower case, such as postgresql.
	Protocol string
	// Server is the name by which the client called the server, if it said one.
	Server string
	// Database is the one that the client asked for, if it said one.
	Database string
}

// CloseReason says what ended a connection: the tag net.close_reason, and a
// label of netra_tcp_connections_total.
type CloseReason string

// The reasons.
const (
	ClosedByClient   CloseReason = "client"       // ended its stream first
	ClosedByServer   CloseReason = "server"       // ended its stream first
	ResetByClient    CloseReason = "client_reset" // or vanished
	ResetByServer    CloseReason = "server_reset"
	ClosedByTimeout  CloseReason = "timeout" // the server does not answer any more
	ClosedByShutdown CloseReason = "shutdown"
	Unreachable      CloseReason = "unreachable" // the server could not be dialled
)

// Closing is how a connection ended.
type Closing struct {
	Reason CloseReason
	// Detail says why the server is unreachable: "refused".
	Detail string
	// Sent and Received count the bytes from the client and to it.
	Sent, Received int64
}

// Open notes a connection that begins. Whether it is to be traced at all shows
// later, in what it carries; but what it belongs to is what is in flight now: a
// pool's connection outlives the request that opened it.
func (t *Tracer) Open(direction Direction, server netip.AddrPort) *Connection {
	c := &Connection{tracer: t, direction: direction, server: server, start: t.now(), link: LinkNone}
	if direction == Outbound {
		c.parent, c.link = t.flights.infer(c.start, t.settings.Expiration, t.settings.Inference)
	}
	return c
}

// Within reports whether a request was in flight when the connection began, be
// it clear or not which one it belongs to.
func (c *Connection) Within() bool { return c.link != LinkNone }

// Named notes, once it is known, what the connection carries. From then on it
// counts as open.
func (c *Connection) Named(carried Carried) {
	c.name(carried)
	c.named = true
	c.tracer.metrics.TCPOpen.Add(c.labels, 1)
}

func (c *Connection) name(carried Carried) {
	c.carried = carried
	c.labels = metrics.Connection{Direction: c.direction.String(), Protocol: carried.Protocol}
	if c.direction == Outbound { // those inbound are from addresses without a name
		name := carried.Server
		if name == "" {
			name = c.server.Addr().Unmap().String()
		}
		c.labels.Peer = c.tracer.metrics.Peer(PeerName(name, c.tracer.settings.Namespace))
	}
}

// Over notes that the connection ends now, where End comes later: bytes that are
// still on their way are waited for.
func (c *Connection) Over() { c.over = c.tracer.now() }

// End finishes a connection that was Named: it is counted and, where it is
// outbound and its trace is sampled, its span is exported.
func (c *Connection) End(closing Closing) {
	if c.over.IsZero() {
		c.Over()
	}
	duration := c.over.Sub(c.start)
	c.count(closing, duration)
	if c.direction == Outbound {
		c.export(closing, duration)
	}
}

// Fail finishes a connection whose server could not be dialled. It has a span
// only within a request, since it is the failure of nothing else.
func (c *Connection) Fail(carried Carried, detail string) {
	c.name(carried)
	closing, duration := Closing{Reason: Unreachable, Detail: detail}, c.tracer.now().Sub(c.start)
	c.count(closing, duration)
	if c.direction == Outbound && c.Within() {
		c.export(closing, duration)
	}
}

func (c *Connection) count(closing Closing, duration time.Duration) {
	set := c.tracer.metrics
	set.TCP.Add(metrics.Closing{Connection: c.labels, Reason: string(closing.Reason)}, 1)
	if !c.named {
		return
	}
	set.TCPOpen.Sub(c.labels, 1)
	side := &set.Inbound
	if c.direction == Outbound {
		side = &set.Outbound
	}
	side.Lifetime.Observe(duration)
	set.TCPBytes.Add(metrics.PeerBytes{Direction: c.labels.Direction, Peer: c.labels.Peer, Way: "request"}, uint64(closing.Sent))
	set.TCPBytes.Add(metrics.PeerBytes{Direction: c.labels.Direction, Peer: c.labels.Peer, Way: "response"}, uint64(closing.Received))
}

func (c *Connection) export(closing Closing, duration time.Duration) {
	t := c.tracer
	t.metrics.Links.Add(string(c.link), 1)
	context, name := t.begin(extracted{c.parent, c.parent.Valid()}, c.spanName)
	if !context.Sampled {
		return
	}
	tags := append(make([]Tag, 0, 16),
		Tag{"span.kind", "client"},
		Tag{"component", "netra"},
		Tag{"net.transport", "tcp"},
		Tag{"net.protocol.name", c.carried.Protocol},
		Tag{"peer.address", addrPort(c.server)},
		Tag{"peer.service", c.labels.Peer},
		Tag{"netra.link", string(c.link)},
		Tag{"net.bytes_sent", closing.Sent},
		Tag{"net.bytes_received", closing.Received},
		Tag{"net.close_reason", string(closing.Reason)})
	for _, tag := range [...]Tag{{"tls.server_name", c.carried.Server}, {"db.name", c.carried.Database}} {
		if tag.Value != "" {
			tags = append(tags, tag)
		}
	}
	if reason := closing.failure(); reason != "" {
		tags = append(tags, Tag{"error.reason", reason}, Tag{"error", true})
	}
	t.metrics.Spans.Add(1)
	t.exporter.Export(Span{Context: context, Name: name, Start: c.start, Duration: duration, Tags: tags})
}

// spanName names the span by what is called where a name is known that is one
// of few, else by the protocol.
func (c *Connection) spanName() string {
	switch c.carried.Protocol {
	case "tcp":
		return "TCP"
	case "tls":
		if c.carried.Server == "" {
			return "TLS"
		}
		return "TLS " + c.labels.Peer
	}
	return "TCP " + c.carried.Protocol
}

// failure is the tag error.reason of a closing that is an error. A client that
// resets is none: many do so instead of reading the last bytes.
func (c Closing) failure() string {
	switch c.Reason {
	case ResetByServer:
		return ReasonReset
	case ClosedByTimeout:
		return ReasonTimeout
	case Unreachable:
		return "destination " + c.Detail
	}
	return ""
}

func addrPort(a netip.AddrPort) string {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}
