package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

// Whether its server has closed a kept upstream or not, the client's connection
// lives and each request goes to its own server.
func TestUpstreamsThatTheirServersClose(t *testing.T) {
	r := start(t, routing)
	home, blue, green := newBackend(t, "home"), newBackend(t, "blue"), newBackend(t, "green")
	r.to(home)
	c := newCaller(t, r)
	parked := func(n int64) {
		t.Helper()
		eventually(t, func() bool { return r.proxy.parked.Load() == n })
	}
	c.get("/", "", "home / 0")
	c.get("/", blue.route(), "blue / 0")
	c.get("/", green.route(), "green / 0")
	parked(2)
	blue.closeIdle(t) // parked
	parked(1)
	green.closeIdle(t) // in use
	parked(0)
	c.get("/", blue.route(), "blue / 0")
	home.closeIdle(t)
	parked(0)
	c.get("/", green.route(), "green / 0")
	c.get("/", "", "home / 0")
	c.get("/", blue.route(), "blue / 0")
	expectAccepted(t, 2, home, blue, green)
}

// More routes than are kept cost connections, not answers.
func TestParkedUpstreamsAreBounded(t *testing.T) {
	r := start(t, routing)
	backends := []*backend{newBackend(t, "home")}
	r.to(backends[0])
	for i := range maxParked + 2 {
		backends = append(backends, newBackend(t, fmt.Sprint("b", i)))
	}
	c := newCaller(t, r)
	for range 3 {
		for i, b := range backends {
			route := b.route()
			if i == 0 {
				route = ""
			}
			c.get("/", route, b.name+" / 0")
			if n := r.proxy.parked.Load(); n > maxParked {
				t.Fatalf("%d upstreams are parked", n)
			}
		}
	}
	expectAccepted(t, 3, backends...)
}

func TestRoutesThatCannotBeTaken(t *testing.T) {
	for _, tt := range []struct{ route, reason string }{
		{"orders=127.0.0.1:1", "destination refused"},
		{"orders=nowhere", "destination unresolved"},
		{"orders=127.0.0.1:%d", "destination loop"},
		{"orders=localhost:%d", "destination loop"},
	} {
		t.Run(tt.route, func(t *testing.T) {
			r := start(t, routing)
			own := addrPort(r.inbound.Addr()).Port()
			r.proxy.settings.OwnPorts = []uint16{own}
			route := strings.ReplaceAll(tt.route, "%d", fmt.Sprint(own))
			home := newBackend(t, "home")
			r.to(home)
			c := newCaller(t, r)
			// The answer before must arrive all the same.
			send(t, c, request("GET", "/large", "", "")+request("GET", "/b", route, ""))
			c.expect("GET", strings.Repeat("home", 1<<20))
			expectReset(t, c)
			span := r.spans.wait(t, 2)[1]
			if tag(span, "error.reason") != tt.reason || tag(span, "netra.route") != strings.TrimPrefix(route, "orders=") {
				t.Errorf("span = %+v", span.Tags)
			}
			r.expectRouted(t, trace.RouteFailed, 1)
			if n := r.metrics.DialErrors.Value(metrics.Cause{Direction: "outbound", Reason: strings.TrimPrefix(tt.reason, "destination ")}); n != 1 {
				t.Errorf("netra_dial_errors_total = %d, want 1", n)
			}
			eventually(t, func() bool { return r.proxy.Open() == 0 })
		})
	}
}

// What is not routed goes where it was meant to go, from the right connection.
func TestRequestsThatAreNotRouted(t *testing.T) {
	r := start(t, routing)
	blue := newBackend(t, "blue")
	for name, text := range map[string]string{
		"upgrade":       "GET /ws HTTP/1.1\r\nHost: orders\r\nUpgrade: websocket\r\nX-Route: " + blue.route() + "\r\n\r\n",
		"connect":       "CONNECT orders:443 HTTP/1.1\r\nHost: orders\r\nX-Route: " + blue.route() + "\r\n\r\n",
		"absolute form": "GET http://orders/ HTTP/1.1\r\nHost: orders\r\nX-Route: " + blue.route() + "\r\n\r\n",
	} {
		before := r.metrics.Routed.Value(metrics.Result{Direction: "outbound", Result: trace.RouteImpossible})
		heads := make(chan string, 2)
		r.to(serving(t, func(conn *net.TCPConn) {
			heads <- readHead(t, conn)
			send(t, conn, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
			io.Copy(io.Discard, conn)
		}))
		c := newCaller(t, r)
		c.get("/", blue.route(), "blue / 0")
		send(t, c, text)
		c.expect("GET", "")
		if head := plain(<-heads); head != text {
			t.Errorf("%s: the server received %q", name, head)
		}
		c.get("/", blue.route(), "blue / 0")
		r.expectRouted(t, trace.RouteImpossible, before+1)
	}
}

// What is no request, behind one that was routed, goes to the server that the
// client meant, once the answers before are there.
func TestDoubtBehindARoutedRequest(t *testing.T) {
	r := start(t, routing)
	blue := newBackend(t, "blue")
	garbage := make(chan string, 1)
	r.to(serving(t, func(conn *net.TCPConn) {
		all, _ := io.ReadAll(conn)
		garbage <- string(all)
	}))
	c := newCaller(t, r)
	send(t, c, request("GET", "/", blue.route(), "")+"\x00 GET "+request("GET", "/", blue.route(), ""))
	c.expect("GET", "blue / 0")
	c.CloseWrite()
	if got, want := <-garbage, "\x00 GET "+request("GET", "/", blue.route(), ""); got != want {
		t.Errorf("the server received %q, want %q", got, want)
	}
	expectEnd(t, c)
}

func TestRoutedResponseThatEndsTheConnection(t *testing.T) {
	r := start(t, routing)
	home, blue := newBackend(t, "home"), newBackend(t, "blue")
	r.to(home)
	c := newCaller(t, r)
	c.get("/", "", "home / 0")
	c.get("/close", blue.route(), "blue /close 0")
	expectEnd(t, c)

	// Until its end, as HTTP/1.0 has it.
	old := serving(t, func(conn *net.TCPConn) {
		readHead(t, conn)
		send(t, conn, "HTTP/1.0 200 OK\r\n\r\nsome")
	})
	c = newCaller(t, r)
	c.get("/", fmt.Sprintf("orders=old:%d", addrPort(old.Addr()).Port()), "some")
	expectEnd(t, c)
	for _, span := range r.spans.wait(t, 3) {
		if tag(span, "error") != nil {
			t.Errorf("span with an error: %+v", span.Tags)
		}
	}
}

func TestClientThatEndsItsStreamBehindARoutedRequest(t *testing.T) {
	r := start(t, routing)
	home, blue := newBackend(t, "home"), newBackend(t, "blue")
	r.to(home)
	c := newCaller(t, r)
	send(t, c, request("GET", "/a", "", "")+request("POST", "/b", blue.route(), "body"))
	c.CloseWrite()
	c.expect("GET", "home /a 0")
	c.expect("POST", "blue /b 4")
	expectEnd(t, c)
	eventually(t, func() bool { return r.proxy.Open() == 0 && r.proxy.parked.Load() == 0 })
}

// silent is a server that reads and never answers.
func silent(t *testing.T) (net.Listener, chan *net.TCPConn) {
	conns := make(chan *net.TCPConn, 10)
	return serving(t, func(conn *net.TCPConn) {
		readHead(t, conn)
		conns <- conn
		io.Copy(io.Discard, conn)
	}), conns
}

// A held request waits for the answers before it, and no longer than its client.
func TestClientResetsWhileARequestIsHeld(t *testing.T) {
	r := start(t, routing)
	home, conns := silent(t)
	blue := newBackend(t, "blue")
	r.to(home)
	c := newCaller(t, r)
	send(t, c, request("GET", "/a", "", "")+request("GET", "/b", blue.route(), "")+strings.Repeat("x", 1<<16))
	<-conns
	reset(c.TCPConn)
	for _, span := range r.spans.wait(t, 2) {
		if tag(span, "error.reason") != trace.ReasonClientReset {
			t.Errorf("span = %+v", span.Tags)
		}
	}
	eventually(t, func() bool { return r.proxy.Open() == 0 })
	expectAccepted(t, 0, blue)
}

func TestServerEndsWhileARequestIsHeld(t *testing.T) {
	r := start(t, routing)
	home, conns := silent(t)
	blue := newBackend(t, "blue")
	r.to(home)
	c := newCaller(t, r)
	send(t, c, request("GET", "/a", "", "")+request("GET", "/b", blue.route(), ""))
	(<-conns).CloseWrite()
	expectEnd(t, c)
	for _, span := range r.spans.wait(t, 2) {
		if tag(span, "error.reason") != trace.ReasonClosed {
			t.Errorf("span = %+v", span.Tags)
		}
	}
	expectAccepted(t, 0, blue)
}

func TestRoutedServerResets(t *testing.T) {
	r := start(t, routing)
	home := newBackend(t, "home")
	r.to(home)
	rude, conns := silent(t)
	c := newCaller(t, r)
	c.get("/a", "", "home /a 0")
	send(t, c, request("GET", "/b", fmt.Sprintf("orders=rude:%d", addrPort(rude.Addr()).Port()), ""))
	reset(<-conns)
	expectReset(t, c)
	if got := tag(r.spans.wait(t, 2)[1], "error.reason"); got != trace.ReasonReset {
		t.Errorf("error.reason = %v", got)
	}
}

// What an idle upstream says answers nothing: it is given up, in use or parked.
func TestUpstreamThatSpeaksUnasked(t *testing.T) {
	r := start(t, routing)
	home := newBackend(t, "home")
	r.to(home)
	rude := serving(t, func(conn *net.TCPConn) {
		readHead(t, conn)
		send(t, conn, empty+"HTTP/1.1 408 Timeout\r\n\r\n")
		io.Copy(io.Discard, conn)
	})
	c := newCaller(t, r)
	route := fmt.Sprintf("orders=rude:%d", addrPort(rude.Addr()).Port())
	for range 5 {
		c.get("/", route, "")
		c.get("/", "", "home / 0")
	}
	expectAccepted(t, 1, home)
}

// With routing on, nothing else changes.
func TestOnTheWireWithRouting(t *testing.T) {
	for _, c := range conversations {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, routing)
			backend := listen(t)
			r.to(backend)
			converse(t, "outbound", dial(t, r.outbound), backend, c.turns)
			eventually(t, func() bool { return r.metrics.Outbound.Open.Load() == 0 })
		})
	}
}
