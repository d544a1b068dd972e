package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

// outboundPair connects the application to a server through the proxy's
// outbound listener.
func outboundPair(t *testing.T, r *rig) (client, server *net.TCPConn) {
	t.Helper()
	backend := listen(t)
	r.to(backend)
	client = dial(t, r.outbound)
	conn, err := backend.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return client, conn.(*net.TCPConn)
}

// hangUp ends both streams in order, the client's first.
func hangUp(t *testing.T, client, server *net.TCPConn) {
	t.Helper()
	client.CloseWrite()
	expectEnd(t, server)
	server.Close()
	expectEnd(t, client)
}

func expectTags(t *testing.T, s trace.Span, want map[string]any) {
	t.Helper()
	for key, value := range want {
		if got := tag(s, key); got != value {
			t.Errorf("%s = %v, want %v, in %+v", key, got, value, s)
		}
	}
}

const (
	pgStartup = "\x00\x00\x00\x22\x00\x03\x00\x00user\x00app\x00database\x00orders\x00\x00"
	pgAnswer  = "R\x00\x00\x00\x08\x00\x00\x00\x00"
	mysqlHi   = "\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00"
	redisPing = "*1\r\n$4\r\nPING\r\n"
)

// TestConnectionsThatAreNotHTTP opens each within a request and holds that its
// span belongs to it, and that the bytes pass as they are, whoever speaks first.
func TestConnectionsThatAreNotHTTP(t *testing.T) {
	tests := []struct {
		name           string
		turns          []turn
		span, protocol string
		sent, received int64
		database       any
	}{
		{"postgresql", []turn{{">", pgStartup}, {"<", pgAnswer}}, "TCP postgresql", "postgresql", 34, 9, "orders"},
		{"postgresql in pieces", []turn{{">", pgStartup[:3]}, {">", pgStartup[3:20]}, {">", pgStartup[20:]}}, "TCP postgresql", "postgresql", 34, 0, "orders"},
		{"mysql, server first", []turn{{"<", mysqlHi[:5]}, {"<", mysqlHi[5:]}, {">", "\x55\x00\x00\x01"}}, "TCP mysql", "mysql", 4, 16, nil},
		{"redis", []turn{{">", redisPing}, {"<", "+PONG\r\n"}, {">", redisPing}, {"<", "+PONG\r\n"}}, "TCP redis", "redis", 28, 14, nil},
		{"neither end known", []turn{{"<", "hello"}, {">", "\xff\xff\xff\xff"}, {"<", "bye"}}, "TCP", "tcp", 4, 8, nil},
		{"begins as HTTP could", []turn{{">", "PIN"}, {">", "G\r\n"}, {"<", "PONG"}}, "TCP", "tcp", 6, 4, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newApp(t)
			request := a.request("")
			client, server := outboundPair(t, a.rig)
			for _, turn := range tt.turns {
				from, to := client, server
				if turn.who == "<" {
					from, to = server, client
				}
				send(t, from, turn.bytes)
				expect(t, to, turn.bytes)
			}
			hangUp(t, client, server)
			span := a.spans.wait(t, 1)[0]
			traceID, spanID := contextOf(t, request.head)
			if span.Name != tt.span || hex16(span.Context.Parent) != spanID || hex16(span.Context.TraceHigh)+hex16(span.Context.TraceLow) != traceID {
				t.Errorf("span %q below %s in %x%x; the request is %s in %s", span.Name, hex16(span.Context.Parent), span.Context.TraceHigh, span.Context.TraceLow, spanID, traceID)
			}
			expectTags(t, span, map[string]any{
				"span.kind": "client", "net.protocol.name": tt.protocol, "peer.address": server.LocalAddr().String(), "peer.service": "127.0.0.1",
				"netra.link": "inferred", "net.bytes_sent": tt.sent, "net.bytes_received": tt.received, "net.close_reason": "client",
				"db.name": tt.database, "error": nil,
			})
			closed := metrics.Closing{Connection: metrics.Connection{Direction: "outbound", Peer: "127.0.0.1", Protocol: tt.protocol}, Reason: "client"}
			if n := a.metrics.TCP.Value(closed); n != 1 {
				t.Errorf("counted %d times, want 1", n)
			}
		})
	}
}

func TestConnectionsWhereHTTPIsNotLookedFor(t *testing.T) {
	r := start(t, func(s *Settings, _ *trace.Settings) { s.HTTPPorts = []uint16{1} })
	for i, name := range []string{"TCP http", "TCP"} {
		client, server := outboundPair(t, r)
		if i == 0 { // the other says nothing
			send(t, client, get)
			expect(t, server, get)
		}
		hangUp(t, client, server)
		if span := r.spans.wait(t, i+1)[i]; span.Name != name || tag(span, "netra.link") != "none" {
			t.Errorf("span %+v, want %s", span, name)
		}
	}
}

// serverOf returns a TLS configuration with a certificate for any name.
func serverOf(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestTLSIsNamedByItsServer(t *testing.T) {
	a := newApp(t)
	a.request("")
	backend := tls.NewListener(listen(t), serverOf(t))
	a.to(backend)
	go http.Serve(backend, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "secret") }))
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", a.outbound.Addr().String())
		},
	}}
	answer, err := client.Get("https://API.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); string(body) != "secret" {
		t.Fatalf("answer %q, %v", body, err)
	}
	span := a.spans.wait(t, 1)[0]
	if span.Name != "TLS api.example.com" {
		t.Errorf("span %q", span.Name)
	}
	expectTags(t, span, map[string]any{
		"net.protocol.name": "tls", "tls.server_name": "api.example.com", "peer.service": "api.example.com", "netra.link": "inferred",
	})
}

func TestClientHelloInPieces(t *testing.T) {
	r := start(t)
	ours, theirs := net.Pipe()
	go tls.Client(theirs, &tls.Config{ServerName: "db.shop.svc"}).Handshake()
	hello := make([]byte, 16<<10)
	n, err := ours.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	client, server := outboundPair(t, r)
	for _, piece := range []string{string(hello[:1]), string(hello[1:100]), string(hello[100:n]), "more"} {
		send(t, client, piece)
		expect(t, server, piece)
	}
	open := metrics.Connection{Direction: "outbound", Peer: "db.shop", Protocol: "tls"}
	if n := r.metrics.TCPOpen.Value(open); n != 1 {
		t.Errorf("%d open connections of %+v, want 1", n, open)
	}
	hangUp(t, client, server)
	if span := r.spans.wait(t, 1)[0]; span.Name != "TLS db.shop" || tag(span, "net.bytes_sent") != int64(n+4) {
		t.Errorf("span %+v", span)
	}
	if n := r.metrics.TCPOpen.Value(open); n != 0 {
		t.Errorf("%d open connections, want none", n)
	}
}

func TestWhatEndsAConnection(t *testing.T) {
	tests := []struct {
		reason string
		failed any
		end    func(r *rig, client, server *net.TCPConn)
	}{
		{"client", nil, func(r *rig, client, server *net.TCPConn) { hangUp(t, client, server) }},
		{"server", nil, func(r *rig, client, server *net.TCPConn) { hangUp(t, server, client) }},
		{"client_reset", nil, func(r *rig, client, server *net.TCPConn) { reset(client) }},
		{"server_reset", trace.ReasonReset, func(r *rig, client, server *net.TCPConn) { reset(server) }},
		{"client", nil, func(r *rig, client, server *net.TCPConn) { // which the server answers with a reset
			client.CloseWrite()
			expectEnd(t, server)
			reset(server)
		}},
		{"shutdown", nil, func(r *rig, client, server *net.TCPConn) { r.proxy.abort() }},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i, " ", tt.reason), func(t *testing.T) {
			r := start(t)
			client, server := outboundPair(t, r)
			send(t, client, redisPing)
			expect(t, server, redisPing)
			tt.end(r, client, server)
			expectTags(t, r.spans.wait(t, 1)[0], map[string]any{"net.close_reason": tt.reason, "error.reason": tt.failed, "net.bytes_sent": int64(len(redisPing))})
		})
	}
}

// A pool's connection belongs to the request that opened it, whatever is in
// flight when it closes.
func TestConnectionOutlivesItsRequest(t *testing.T) {
	a := newApp(t)
	first := a.request("")
	client, server := outboundPair(t, a.rig)
	send(t, client, redisPing)
	expect(t, server, redisPing)
	a.answer(first)
	a.request("")
	hangUp(t, client, server)
	_, spanID := contextOf(t, first.head)
	if span := a.spans.wait(t, 2)[1]; hex16(span.Context.Parent) != spanID || tag(span, "netra.link") != "inferred" {
		t.Errorf("span %+v, want one below %s", span, spanID)
	}
}

func TestConnectionThatCouldBeOfEither(t *testing.T) {
	a := newApp(t)
	a.request("")
	a.request("")
	client, server := outboundPair(t, a.rig)
	send(t, client, redisPing)
	expect(t, server, redisPing)
	hangUp(t, client, server)
	if span := a.spans.wait(t, 1)[0]; span.Context.Parent != 0 || tag(span, "netra.link") != "ambiguous" {
		t.Errorf("span %+v, want an ambiguous root", span)
	}
}

func TestInboundConnectionsHaveNoSpan(t *testing.T) {
	r := start(t)
	client, server := pair(t, r)
	send(t, client, redisPing)
	expect(t, server, redisPing)
	hangUp(t, server, client)
	closed := metrics.Closing{Connection: metrics.Connection{Direction: "inbound", Protocol: "redis"}, Reason: "server"}
	eventually(t, func() bool { return r.metrics.TCP.Value(closed) == 1 })
	if n := r.metrics.Spans.Load(); n != 0 {
		t.Errorf("%d spans, want none", n)
	}
}

// What an HTTP client connects ahead of its requests, and a probe that only
// connects, are nothing to be told of.
func TestSilentConnectionsAreNotCounted(t *testing.T) {
	r := start(t)
	hangUpPair := func(client, server *net.TCPConn) { hangUp(t, client, server) }
	hangUpPair(outboundPair(t, r))
	hangUpPair(pair(t, r))
	eventually(t, func() bool { return r.proxy.Open() == 0 })
	var text strings.Builder
	r.metrics.WriteTo(&text)
	if r.metrics.Spans.Load() != 0 || strings.Contains(text.String(), "netra_tcp_connections_total{") {
		t.Errorf("%d spans, and metrics\n%s", r.metrics.Spans.Load(), text.String())
	}
}

func TestRequestsAreNotCountedAsConnections(t *testing.T) {
	a := newApp(t)
	a.expectLink("", trace.LinkNone, nil)
	eventually(t, func() bool { return a.proxy.Open() == 0 })
	a.spans.wait(t, 1)
	var text strings.Builder
	a.metrics.WriteTo(&text)
	if strings.Contains(text.String(), "netra_tcp_connections_total{") {
		t.Errorf("the metrics are\n%s", text.String())
	}
}

func TestConnectionsThatAreRefusedWithinARequest(t *testing.T) {
	for _, tt := range []struct{ name, first, protocol string }{
		{"client first", redisPing, "redis"},
		{"begins as HTTP could", "PUT", "tcp"},
		{"waits for the server", "", "tcp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newApp(t)
			closed := listen(t)
			closed.Close()
			request := a.request("")
			a.to(closed)
			out := dial(t, a.outbound)
			send(t, out, tt.first)
			expectReset(t, out)
			span := a.spans.wait(t, 1)[0]
			if _, spanID := contextOf(t, request.head); hex16(span.Context.Parent) != spanID {
				t.Errorf("span %+v, want one below %s", span, spanID)
			}
			expectTags(t, span, map[string]any{
				"net.protocol.name": tt.protocol, "net.close_reason": "unreachable", "error.reason": "destination refused", "error": true,
				"peer.address": closed.Addr().String(),
			})
		})
	}
}
