package trace

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

var database = netip.MustParseAddrPort("[::ffff:10.0.0.7]:5432")

// newClocked returns a tracer whose time a test moves.
func newClocked() (*Tracer, *recorder, *clock) {
	tracer, exported := newTracer(nil)
	c := &clock{time.Unix(1e9, 0)}
	tracer.now = c.now
	return tracer, exported, c
}

func TestSpanOfAConnection(t *testing.T) {
	tracer, exported, clock := newClocked()
	request, _ := tracer.Begin(Inbound, head("GET", "/orders"))
	connection := tracer.Open(Outbound, database)
	request.End(Result{}) // a pool keeps the connection
	clock.pass(time.Minute)
	tracer.Begin(Inbound, head("GET", "/other"))
	connection.Named(Carried{Protocol: "postgresql", Database: "orders"})
	open := metrics.Connection{Direction: "outbound", Peer: "10.0.0.7", Protocol: "postgresql"}
	if n := tracer.metrics.TCPOpen.Value(open); n != 1 {
		t.Errorf("%d open connections, want 1", n)
	}
	clock.pass(time.Minute)
	connection.Over()
	clock.pass(time.Second)
	connection.End(Closing{Reason: ClosedByClient, Sent: 12, Received: 345})

	want := `span.kind=client
component=netra
net.transport=tcp
net.protocol.name=postgresql
peer.address=10.0.0.7:5432
peer.service=10.0.0.7
netra.link=inferred
net.bytes_sent=12
net.bytes_received=345
net.close_reason=client
db.name=orders
`
	span := exported.spans[1]
	if len(exported.spans) != 2 || span.Name != "TCP postgresql" || tags(span) != want || span.Duration != 2*time.Minute {
		t.Errorf("spans %+v\nwant %s", exported.spans, want)
	}
	if in := exported.spans[0].Context; span.Context.Parent != in.Span || !span.Context.same(in) || span.Context.Span == in.Span {
		t.Errorf("context %+v, want a child of %+v", span.Context, in)
	}
	expectText(t, tracer, `netra_tcp_connections_total{direction="outbound",peer="10.0.0.7",protocol="postgresql",reason="client"} 1`,
		`netra_tcp_open_connections{direction="outbound",peer="10.0.0.7",protocol="postgresql"} 0`,
		`netra_tcp_bytes_total{direction="outbound",peer="10.0.0.7",way="request"} 12`,
		`netra_tcp_bytes_total{direction="outbound",peer="10.0.0.7",way="response"} 345`,
		`netra_tcp_connection_duration_seconds_sum{direction="outbound"} 120`,
		`netra_links_total{link="inferred"} 1`)
}

func expectText(t *testing.T, tracer *Tracer, lines ...string) {
	t.Helper()
	var b bytes.Buffer
	tracer.metrics.WriteTo(&b)
	for _, line := range lines {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

func TestConnectionsByWhatTheyCarry(t *testing.T) {
	tests := []struct {
		carried    Carried
		name, peer string
	}{
		{Carried{Protocol: "tcp"}, "TCP", "10.0.0.7"},
		{Carried{Protocol: "tls"}, "TLS", "10.0.0.7"},
		{Carried{Protocol: "tls", Server: "payments.shop.svc"}, "TLS payments", "payments"},
		{Carried{Protocol: "postgresql", Server: "db.example.com"}, "TCP postgresql", "db.example.com"},
	}
	for _, tt := range tests {
		tracer, exported := newTracer(nil)
		connection := tracer.Open(Outbound, database)
		connection.Named(tt.carried)
		connection.End(Closing{Reason: ClosedByServer})
		span := exported.spans[0]
		if got := tags(span); span.Name != tt.name || !strings.Contains(got, "peer.service="+tt.peer+"\n") ||
			!strings.Contains(got, "netra.link=none\n") || strings.Contains(got, "error") || span.Context.Parent != 0 {
			t.Errorf("%+v: span %q with %s", tt.carried, span.Name, got)
		}
	}
}

func TestConnectionsWithAnError(t *testing.T) {
	for reason, want := range map[CloseReason]string{
		ClosedByClient: "", ResetByClient: "", ClosedByShutdown: "", ResetByServer: ReasonReset, ClosedByTimeout: ReasonTimeout,
	} {
		tracer, exported := newTracer(nil)
		connection := tracer.Open(Outbound, database)
		connection.Named(Carried{Protocol: "redis"})
		connection.End(Closing{Reason: reason})
		got := tags(exported.spans[0])
		if want == "" && strings.Contains(got, "error") || want != "" && !strings.Contains(got, "error.reason="+want+"\nerror=true\n") {
			t.Errorf("%s: %s", reason, got)
		}
	}
}

func TestConnectionThatFails(t *testing.T) {
	tracer, exported := newTracer(nil)
	tracer.Open(Outbound, database).Fail(Carried{Protocol: "postgresql"}, "refused")
	if len(exported.spans) != 0 {
		t.Errorf("outside of any request: %+v", exported.spans)
	}
	tracer.Begin(Inbound, head("GET", "/"))
	tracer.Open(Outbound, database).Fail(Carried{Protocol: "postgresql"}, "refused")
	if got := tags(exported.spans[0]); !strings.Contains(got, "netra.link=inferred\n") ||
		!strings.Contains(got, "error.reason=destination refused\nerror=true\n") {
		t.Errorf("within a request: %s", got)
	}
	tracer.Begin(Inbound, head("GET", "/"))
	tracer.Open(Outbound, database).Fail(Carried{Protocol: "postgresql"}, "refused")
	if got := exported.spans[1]; !strings.Contains(tags(got), "netra.link=ambiguous\n") || got.Context.Parent != 0 {
		t.Errorf("within one of two: %+v", got)
	}
	expectText(t, tracer, `netra_tcp_connections_total{direction="outbound",peer="10.0.0.7",protocol="postgresql",reason="unreachable"} 3`)
}

func TestInboundConnectionsAreOnlyCounted(t *testing.T) {
	tracer, exported := newTracer(nil)
	connection := tracer.Open(Inbound, database)
	connection.Named(Carried{Protocol: "tls", Server: "me.example.com"})
	connection.End(Closing{Reason: ClosedByServer, Received: 3})
	if len(exported.spans) != 0 {
		t.Errorf("spans %+v", exported.spans)
	}
	expectText(t, tracer, `netra_tcp_connections_total{direction="inbound",peer="",protocol="tls",reason="server"} 1`,
		`netra_tcp_bytes_total{direction="inbound",peer="",way="response"} 3`,
		`netra_tcp_connection_duration_seconds_count{direction="inbound"} 1`)
}

func TestConnectionOfAnUnsampledRequest(t *testing.T) {
	tracer, exported := newTracer(nil)
	tracer.Begin(Inbound, head("GET", "/", "traceparent: 00-"+traceID+"-"+spanID+"-00"))
	connection := tracer.Open(Outbound, database)
	connection.Named(Carried{Protocol: "redis"})
	connection.End(Closing{Reason: ClosedByClient})
	if len(exported.spans) != 0 {
		t.Errorf("spans %+v", exported.spans)
	}
}

// Names that a hostile client makes up end in one series and one span name.
func TestNamesOfConnectionsAreBounded(t *testing.T) {
	tracer, exported := newTracer(nil)
	names := map[string]bool{}
	for i := range metrics.MaxPeers + 50 {
		connection := tracer.Open(Outbound, database)
		connection.Named(Carried{Protocol: "tls", Server: fmt.Sprintf("host-%d.example.com", i)})
		connection.End(Closing{Reason: ClosedByClient})
		names[exported.spans[i].Name] = true
	}
	if len(names) != metrics.MaxPeers+1 || !names["TLS other"] {
		t.Errorf("%d names of spans, want %d", len(names), metrics.MaxPeers+1)
	}
}
