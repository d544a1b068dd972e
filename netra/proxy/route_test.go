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
