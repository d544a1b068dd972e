package proxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

// BenchmarkRequest is a request through the proxy on a connection that is kept,
// with its response and its span, which is sent to an agent. What both ends do is
// in it, but they take no memory: all that is counted is the proxy's and the
// exporter's.
func BenchmarkRequest(b *testing.B) {
	agent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer agent.Close()
	b.Setenv("JAEGER_AGENT_HOST", "127.0.0.1")
	b.Setenv("JAEGER_AGENT_PORT", fmt.Sprint(agent.LocalAddr().(*net.UDPAddr).Port))
	request := []byte("GET /orders/4711?expand=items HTTP/1.1\r\nHost: orders.shop.svc.cluster.local:8080\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	backend := serving(b, func(conn *net.TCPConn) {
		conn.SetDeadline(time.Time{})
		for buf := make([]byte, 4096); ; { // a request is one read
			if _, err := conn.Read(buf); err != nil {
				return
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	})
	for _, direction := range []trace.Direction{trace.Inbound, trace.Outbound} {
		b.Run(direction.String(), func(b *testing.B) {
			exporter, flush, err := trace.NewJaeger("orders", nil, metrics.New(""), slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			defer flush(context.Background())
			r := startWith(b, func(p *Proxy) {
				p.tracer = trace.New(trace.Settings{
					RequestIDHeader: "X-Request-Id", SourceHeader: "X-Source", Propagation: []trace.Format{trace.W3C, trace.Jaeger},
					Expiration: 5 * time.Second, CleanupInterval: time.Second,
				}, exporter, p.metrics)
			})
			r.to(backend)
			l := r.inbound
			if direction == trace.Outbound {
				l = r.outbound
			}
			conn := dial(b, l)
			conn.SetDeadline(time.Time{})
			buf := make([]byte, len(answer))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(request); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(conn, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
