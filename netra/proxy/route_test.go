package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

// routing makes a rig route requests. The hosts of routes are all 127.0.0.1,
// but "nowhere", which has no address.
func routing(s *Settings, ts *trace.Settings) {
	s.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "nowhere" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	ts.Routing = trace.Routing{Header: "X-Route", Cookie: "X-Route", Expiration: time.Hour, CleanupInterval: time.Hour}
}

// backend is a real server that says who it is.
type backend struct {
	net.Listener
	name     string
	server   http.Server
	accepted atomic.Int32
	heads    chan http.Header

	mu   sync.Mutex
	open map[net.Conn]http.ConnState
}

func newBackend(t *testing.T, name string) *backend {
	b := &backend{Listener: listen(t), name: name, heads: make(chan http.Header, 1000), open: map[net.Conn]http.ConnState{}}
	b.server.ConnState = func(conn net.Conn, state http.ConnState) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.open[conn] = state; state == http.StateNew {
			b.accepted.Add(1)
		}
	}
	b.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.heads <- r.Header
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("%s: reading a body: %v", name, err)
		}
		switch r.URL.Path {
		case "/chunks":
			for range 3 {
				fmt.Fprintln(w, name)
				w.(http.Flusher).Flush()
			}
		case "/large":
			io.WriteString(w, strings.Repeat(name, 1<<20))
		case "/close":
			w.Header().Set("Connection", "close")
			fallthrough
		default:
			fmt.Fprintf(w, "%s %s %d", name, r.URL.Path, len(body))
		}
	})
	go b.server.Serve(b)
	return b
}

// closeIdle closes the connections that wait for a request, as a server does
// after a while.
func (b *backend) closeIdle(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { // the last answer may be on its way still
		b.mu.Lock()
		defer b.mu.Unlock()
		for conn, state := range b.open {
			if state == http.StateIdle {
				conn.Close()
				delete(b.open, conn)
				return true
			}
		}
		return false
	})
}

// route is the value of X-Route that sends orders to this backend.
func (b *backend) route() string {
	return fmt.Sprintf("orders=%s:%d", b.name, addrPort(b.Addr()).Port())
}

// caller is the application, on one connection.
type caller struct {
	*net.TCPConn
	t       *testing.T
	answers *bufio.Reader
}

func newCaller(t *testing.T, r *rig) *caller {
	t.Helper()
	conn := dial(t, r.outbound)
	return &caller{conn, t, bufio.NewReader(conn)}
}

// request is one to orders, with a body where there is one.
func request(method, path, route, body string) string {
	fields := "Host: orders:8080\r\n"
	if route != "" {
		fields += "X-Route: " + route + "\r\n"
	}
	if body != "" {
		fields += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return method + " " + path + " HTTP/1.1\r\n" + fields + "\r\n" + body
}

// expect reads the answer to a request.
func (c *caller) expect(method, want string) {
	c.t.Helper()
	answer, err := http.ReadResponse(c.answers, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("reading an answer: %v, want %.60q", err, want)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil || string(body) != want {
		c.t.Fatalf("answer %.60q of %d bytes, %v; want %.60q", body, len(body), err, want)
	}
}

func (c *caller) get(path, route, want string) {
	c.t.Helper()
	send(c.t, c, request("GET", path, route, ""))
	c.expect("GET", want)
}

func (r *rig) expectRouted(t *testing.T, result string, n uint64) {
	t.Helper()
	if got := r.metrics.Routed.Value(metrics.Result{Direction: "outbound", Result: result}); got != n {
		t.Errorf(`netra_routed_requests_total{result=%q} = %d, want %d`, result, got, n)
	}
}

func expectAccepted(t *testing.T, n int32, backends ...*backend) {
	t.Helper()
	for _, b := range backends {
		if got := b.accepted.Load(); got != n {
			t.Errorf("%s accepted %d connections, want %d", b.name, got, n)
		}
	}
}

func TestRoutesAlternateOnOneConnection(t *testing.T) {
	r := start(t, routing)
	home, blue, green := newBackend(t, "home"), newBackend(t, "blue"), newBackend(t, "green")
	r.to(home)
	c := newCaller(t, r)
	for range 10 {
		c.get("/a", "", "home /a 0")
		c.get("/b", blue.route(), "blue /b 0")
		c.get("/b", blue.route(), "blue /b 0")
		c.get("/c", "x=y,"+green.route(), "green /c 0")
		c.get("/d", "other=nowhere", "home /d 0")
	}
	expectAccepted(t, 1, home, blue, green)
	r.expectRouted(t, trace.Routed, 30)
	if head := <-blue.heads; head.Get("X-Route") != blue.route() || head.Get("traceparent") == "" {
		t.Errorf("blue received %v", head)
	}
	for _, span := range r.spans.wait(t, 50) {
		b := home
		switch tag(span, "http.path") {
		case "/b":
			b = blue
		case "/c":
			b = green
		}
		var route any
		peer := "orders"
		if b != home {
			route, peer = strings.TrimPrefix(b.route(), "orders="), b.name
		}
		if tag(span, "netra.route") != route || tag(span, "peer.address") != b.Addr().String() || tag(span, "peer.service") != peer {
			t.Errorf("span of %v: %+v", tag(span, "http.path"), span.Tags)
		}
	}
	c.Close()
	eventually(t, func() bool { return r.proxy.Open() == 0 })
	if n := r.proxy.parked.Load(); n != 0 {
		t.Errorf("%d upstreams are parked after the end", n)
	}
}

// The port is the original destination's where the route has none.
func TestRouteWithoutPort(t *testing.T) {
	r := start(t, routing, func(s *Settings, _ *trace.Settings) {
		s.Resolve = func(context.Context, string) ([]netip.Addr, error) {
			// The first address takes nothing.
			return []netip.Addr{netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.1")}, nil
		}
	})
	home := newBackend(t, "home")
	r.to(home)
	c := newCaller(t, r)
	c.get("/a", "", "home /a 0")
	c.get("/b", "orders=elsewhere", "home /b 0")
	expectAccepted(t, 2, home)
	if got := tag(r.spans.wait(t, 2)[1], "netra.route"); got != "elsewhere" {
		t.Errorf("netra.route = %v", got)
	}
}

func TestPipelinedRoutesAreAnsweredInOrder(t *testing.T) {
	r := start(t, routing)
	home, blue, green := newBackend(t, "home"), newBackend(t, "blue"), newBackend(t, "green")
	r.to(home)
	c := newCaller(t, r)
	var requests, answers []string
	for i := range 60 {
		b := []*backend{home, blue, blue, green, home}[i%5]
		path, body, route := fmt.Sprintf("/%d", i), strings.Repeat("x", i*100), ""
		if b != home {
			route = b.route()
		}
		requests = append(requests, request("POST", path, route, body))
		answers = append(answers, fmt.Sprintf("%s %s %d", b.name, path, len(body)))
	}
	go io.WriteString(c, strings.Join(requests, ""))
	for _, want := range answers {
		c.expect("POST", want)
	}
	expectAccepted(t, 1, home, blue, green)
	r.spans.wait(t, 60)
}

func TestRoutedBodiesOfEveryKind(t *testing.T) {
	r := start(t, routing)
	home, blue := newBackend(t, "home"), newBackend(t, "blue")
	r.to(home)
	c := newCaller(t, r)
	large := strings.Repeat("0123456789", 300_000)
	for range 2 {
		for _, b := range []*backend{blue, home} {
			route := "a=b"
			if b == blue {
				route = blue.route()
			}
			go io.WriteString(c, request("PUT", "/put", route, large))
			c.expect("PUT", b.name+" /put 3000000")
			send(t, c, request("HEAD", "/a-long-path", route, ""))
			c.expect("HEAD", "")
			c.get("/chunks", route, strings.Repeat(b.name+"\n", 3))
			c.get("/large", route, strings.Repeat(b.name, 1<<20))
			send(t, c, "POST /up HTTP/1.1\r\nHost: orders\r\nX-Route: "+route+"\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
			if line, err := c.answers.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("line %q, %v", line, err)
			}
			c.answers.ReadString('\n')
			send(t, c, "3\r\nabc\r\n")
			send(t, c, "0\r\n\r\n")
			c.expect("POST", b.name+" /up 3")
		}
	}
	expectAccepted(t, 1, home, blue)
}

// A head may come byte by byte: none of it may reach the wrong server.
func TestRoutedHeadInPieces(t *testing.T) {
	r := start(t, routing)
	home, blue := newBackend(t, "home"), newBackend(t, "blue")
	r.to(home)
	c := newCaller(t, r)
	c.get("/a", "", "home /a 0")
	for _, b := range []byte(request("POST", "/b", blue.route(), "body")) {
		send(t, c, string(b))
	}
	c.expect("POST", "blue /b 4")
	for _, b := range []byte(request("GET", "/c", "", "")) {
		send(t, c, string(b))
	}
	c.expect("GET", "home /c 0")
	expectAccepted(t, 1, home, blue)
}

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

// The routes of an inbound request are those of the requests that belong to it.
func TestRoutesComeWithTheInboundRequest(t *testing.T) {
	a := &app{t: t, rig: start(t, routing)}
	blue, green, home := newBackend(t, "blue"), newBackend(t, "green"), newBackend(t, "home")
	expect := func(fields string, b *backend, route string) {
		t.Helper()
		a.to(home)
		c := newCaller(t, a.rig)
		send(t, c, "GET / HTTP/1.1\r\nHost: orders\r\n"+fields+"\r\n")
		c.expect("GET", b.name+" / 0")
		if got := (<-b.heads).Get("X-Route"); got != route {
			t.Errorf("%s received the route %q, want %q", b.name, got, route)
		}
		c.Close()
	}
	expect("", home, "")
	one := a.request("X-Request-Id: one\r\nX-Route: " + blue.route() + "\r\n")
	if got := field(one.head, "X-Route"); got != blue.route() {
		t.Errorf("the application received the route %q", got)
	}
	expect("", blue, blue.route()) // the only one in flight
	two := a.request("X-Request-Id: two\r\nX-Route: " + blue.route() + "\r\nCookie: a=b; X-Route=" + strings.ReplaceAll(green.route(), "=", "%3D") + "; c=d\r\n")
	expect("", home, "")
	expect("X-Request-Id: one\r\n", blue, blue.route())
	expect("X-Request-Id: two\r\n", green, green.route()) // the cookie wins
	expect("X-Request-Id: three\r\n", home, "")
	expect("traceparent: "+field(one.head, "traceparent")+"\r\n", blue, blue.route())
	expect("uber-trace-id: "+field(two.head, "uber-trace-id")+"\r\n", green, green.route())
	expect("X-Request-Id: one\r\nX-Route: "+green.route()+"\r\n", green, green.route())
	expect("X-Request-Id: one\r\nX-Route: rubbish\r\n", blue, blue.route())
	expect("X-Request-Id: one\r\nX-Route:\r\n", home, "") // the application says: none
	a.answer(one)
	a.answer(two)
	expect("X-Request-Id: two\r\n", green, green.route()) // for a while after its end
	if n := a.metrics.Routed.Value(metrics.Result{Direction: "outbound", Result: trace.RouteMalformed}); n != 1 {
		t.Errorf("%d malformed routes, want 1", n)
	}
}

// A stream of HTTP/2 carries the route on, and goes where it was meant to go.
func TestHTTP2IsNotRouted(t *testing.T) {
	a := &app{t: t, rig: start(t, routing)}
	blue, home := newBackend(t, "blue"), listen(t)
	heads := make(chan http.Header, 1)
	server := http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heads <- r.Header })}
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(home)
	a.request("X-Route: " + blue.route() + "\r\n")
	a.to(home)
	transport := &http.Transport{Protocols: server.Protocols, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("tcp", a.outbound.Addr().String())
	}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://orders/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if got := (<-heads).Get("X-Route"); got != blue.route() || answer.ProtoMajor != 2 {
		t.Errorf("the server received the route %q by HTTP/%d", got, answer.ProtoMajor)
	}
	a.expectRouted(t, trace.RouteImpossible, 1)
}

// A route also helps where the server that was meant cannot be reached.
func TestRouteAroundAServerThatIsDown(t *testing.T) {
	r := start(t, routing)
	blue := newBackend(t, "blue")
	r.mu.Lock()
	r.backend = netip.MustParseAddrPort("127.0.0.1:1")
	r.mu.Unlock()
	large := strings.Repeat("x", 1<<20)
	// As in TestDestinationThatRefuses, the proxy does not wait for long.
	eventually(t, func() bool {
		c := newCaller(t, r)
		if _, err := io.WriteString(c, request("POST", "/a", blue.route(), "body")+request("GET", "/b", blue.route(), "")); err != nil {
			return false
		}
		if _, err := c.answers.Peek(1); err != nil {
			return false
		}
		c.expect("POST", "blue /a 4")
		c.expect("GET", "blue /b 0")
		go io.WriteString(c, request("PUT", "/c", blue.route(), large))
		c.expect("PUT", "blue /c 1048576")
		send(t, c, request("GET", "/d", "", ""))
		expectReset(t, c)
		return true
	})
	spans := r.spans.wait(t, 4)
	for i, reason := range []any{nil, nil, nil, "destination refused"} {
		if got := tag(spans[i], "error.reason"); got != reason {
			t.Errorf("span %d has error.reason %v, want %v", i, got, reason)
		}
	}
	expectAccepted(t, 1, blue)
}
