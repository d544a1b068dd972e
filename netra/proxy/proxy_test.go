package proxy

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

const (
	get   = "GET /orders/17 HTTP/1.1\r\nHost: orders\r\n\r\n"
	empty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
)

// pair connects a client to a server through the proxy's inbound listener.
func pair(t *testing.T, r *rig) (client, server *net.TCPConn) {
	t.Helper()
	accepted := make(chan *net.TCPConn)
	block := make(chan struct{})
	t.Cleanup(func() { close(block) })
	r.to(serving(t, func(conn *net.TCPConn) {
		accepted <- conn
		<-block
	}))
	client = dial(t, r.inbound)
	return client, <-accepted
}

func expectReset(t *testing.T, conn net.Conn) {
	t.Helper()
	if rest, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) || len(rest) > 0 {
		t.Fatalf("read %q, %v; want a reset", rest, err)
	}
}

// expectRefusal dials and expects a reset, which may come before the dial has
// returned.
func expectRefusal(t *testing.T, l net.Listener) {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	expectReset(t, conn)
}

func TestClientResetReachesServer(t *testing.T) {
	r := start(t)
	client, server := pair(t, r)
	send(t, client, get)
	readHead(t, server)
	send(t, server, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
	expect(t, client, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
	reset(client)
	expectReset(t, server)
	span := r.spans.wait(t, 1)[0]
	if got := tag(span, "error.reason"); got != trace.ReasonClientReset {
		t.Errorf("error.reason = %v", got)
	}
}

// A server that does not read does not keep a client's reset from it.
func TestClientResetIsSeenWhileTheServerDoesNotRead(t *testing.T) {
	r := start(t)
	client, server := pair(t, r)
	send(t, client, "POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
	readHead(t, server)
	client.SetWriteDeadline(time.Now().Add(time.Second)) // long enough to fill every buffer
	if n, err := client.Write(make([]byte, 64<<20)); err == nil {
		t.Fatalf("%d bytes went to a server that reads none", n)
	}
	reset(client)
	if got := tag(r.spans.wait(t, 1)[0], "error.reason"); got != trace.ReasonClientReset {
		t.Errorf("error.reason = %v", got)
	}
	eventually(t, func() bool { return r.proxy.Open() == 0 })
	if _, err := io.Copy(io.Discard, server); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server read to %v, want a reset", err)
	}
}

func TestServerResetReachesClientBehindItsLastBytes(t *testing.T) {
	r := start(t)
	client, server := pair(t, r)
	send(t, client, get)
	readHead(t, server)
	// More than the client's window, so that some is still on its way.
	body := strings.Repeat("x", 8<<20)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		io.WriteString(server, "HTTP/1.1 200 OK\r\n\r\n"+body)
		drained(t, server)
		reset(server)
	}()
	expect(t, client, "HTTP/1.1 200 OK\r\n\r\n"+body)
	expectReset(t, client)
	<-sent
	if got := tag(r.spans.wait(t, 1)[0], "error.reason"); got != trace.ReasonReset {
		t.Errorf("error.reason = %v", got)
	}
}

func TestAnswerOfAServerThatDoesNotReadTheBody(t *testing.T) {
	r := start(t)
	client, server := pair(t, r)
	send(t, client, "POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
	readHead(t, server)
	const answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(client, strings.Repeat("x", 16<<20))
		written <- err
	}()
	send(t, server, answer)
	expect(t, server, "xxx")
	server.Close() // with bytes unread: a reset
	expect(t, client, answer)
	if span := r.spans.wait(t, 1)[0]; tag(span, "http.status_code") != int64(413) || tag(span, "error") != nil {
		t.Errorf("span = %+v", span)
	}
	client.Close()
	<-written
	eventually(t, func() bool { return r.proxy.Open() == 0 })
}

func TestRequestsWithoutAnswer(t *testing.T) {
	tests := []struct {
		name, answer, reason string
		reset                bool
	}{
		{"closed", "", trace.ReasonClosed, false},
		{"closed after an interim answer", "HTTP/1.1 100 Continue\r\n\r\n", trace.ReasonClosed, false},
		{"truncated", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", trace.ReasonTruncated, false},
		{"reset", "", trace.ReasonReset, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t)
			client, server := pair(t, r)
			send(t, client, get)
			readHead(t, server)
			send(t, server, tt.answer)
			expect(t, client, tt.answer)
			if tt.reset {
				reset(server)
			} else {
				server.CloseWrite()
				expectEnd(t, client)
			}
			span := r.spans.wait(t, 1)[0]
			if tag(span, "error.reason") != tt.reason || tag(span, "error") != true {
				t.Errorf("error.reason = %v, error = %v, want %s and true", tag(span, "error.reason"), tag(span, "error"), tt.reason)
			}
		})
	}
}

func TestConnectionsThatAreRefused(t *testing.T) {
	r := start(t)
	own := addrPort(r.inbound.Addr())
	other := addrPort(r.outbound.Addr())
	r.proxy.settings.OwnPorts = []uint16{own.Port(), other.Port()}
	tests := []struct {
		destination netip.AddrPort
		reason      string
	}{
		{own, "not_redirected"},
		{other, "loop"},
		{netip.AddrPortFrom(netip.MustParseAddr("127.9.9.9"), own.Port()), "loop"},
		{netip.AddrPortFrom(netip.IPv6Unspecified(), own.Port()), "loop"},
		{netip.AddrPort{}, "no_destination"},
	}
	for _, tt := range tests {
		r.mu.Lock()
		r.backend = tt.destination
		r.mu.Unlock()
		expectRefusal(t, r.inbound)
		if n := r.metrics.Refused.Value(metrics.Cause{Direction: "inbound", Reason: tt.reason}); n == 0 {
			t.Errorf("to %s: not counted as %s", tt.destination, tt.reason)
		}
	}
}

func TestWithoutRedirectionThereIsNoDestination(t *testing.T) {
	r := start(t, func(s *Settings, _ *trace.Settings) { s.Destination = OriginalDestination })
	expectRefusal(t, r.inbound)
	if n := r.metrics.Refused.Value(metrics.Cause{Direction: "inbound", Reason: "not_redirected"}); n != 1 {
		t.Errorf("netra_refused_connections_total = %d, want 1", n)
	}
}

func TestDestinationThatRefuses(t *testing.T) {
	r := start(t)
	r.mu.Lock()
	// Where nobody listens. A port that was closed just now may be another
	// process's already.
	r.backend = netip.MustParseAddrPort("127.0.0.1:1")
	r.mu.Unlock()
	// The proxy waits for unreachableWait only; where this test is held up for
	// longer between the two steps, it takes them again.
	tries := uint64(0)
	eventually(t, func() bool {
		tries++
		out := dial(t, r.outbound)
		if _, err := io.WriteString(out, get); err != nil {
			return false // the reset came first
		}
		expectReset(t, out)
		r.spans.mu.Lock()
		defer r.spans.mu.Unlock()
		return len(r.spans.spans) > 0
	})
	expectReset(t, dial(t, r.outbound)) // after a while, without a word
	if n := r.metrics.DialErrors.Value(metrics.Cause{Direction: "outbound", Reason: "refused"}); n != tries+1 {
		t.Errorf("netra_dial_errors_total = %d, want %d", n, tries+1)
	}
	span := r.spans.wait(t, 1)[0]
	if tag(span, "error.reason") != "destination refused" || tag(span, "http.path") != "/orders/17" {
		t.Errorf("span = %+v", span)
	}
}

func TestPanicEndsOneConnectionOnly(t *testing.T) {
	var faulty atomic.Bool
	faulty.Store(true)
	var r *rig
	r = start(t, func(s *Settings, _ *trace.Settings) {
		s.Destination = func(fd int) (netip.AddrPort, error) {
			if faulty.Load() {
				panic("a fault")
			}
			return r.destination(fd)
		}
	})
	expectRefusal(t, r.inbound)
	if n := r.metrics.Panics.Load(); n != 1 {
		t.Errorf("netra_panics_total = %d, want 1", n)
	}
	faulty.Store(false)
	client, server := pair(t, r)
	send(t, client, get)
	readHead(t, server)
}

func TestAcceptingRecovers(t *testing.T) {
	var failures atomic.Int32
	r := startWith(t, func(p *Proxy) {
		p.accept = func(listener int) (int, netip.AddrPort, error) {
			if failures.Add(1) <= 2 {
				return -1, netip.AddrPort{}, syscall.EMFILE
			}
			return acceptSocket(listener)
		}
	})
	r.to(serving(t, func(conn *net.TCPConn) { io.WriteString(conn, "hi") }))
	expect(t, dial(t, r.inbound), "hi")
	if n := r.metrics.AcceptError.Load(); n != 2 {
		t.Errorf("netra_accept_errors_total = %d, want 2", n)
	}
}

// Beyond the bound clients wait until a connection ends.
func TestConnectionsAreBounded(t *testing.T) {
	r := startWith(t, func(p *Proxy) { p.maxOpen = 2 })
	r.to(serving(t, func(conn *net.TCPConn) { io.WriteString(conn, "hi"); io.Copy(io.Discard, conn) }))
	first, second, third := dial(t, r.inbound), dial(t, r.inbound), dial(t, r.inbound)
	expect(t, first, "hi")
	expect(t, second, "hi")
	eventually(t, func() bool { return r.metrics.AcceptError.Load() > 0 })
	if n := r.proxy.Open(); n != 2 {
		t.Errorf("%d connections are open, want 2", n)
	}
	first.Close()
	expect(t, third, "hi")
}

func TestHTTPPortsRestrictFollowing(t *testing.T) {
	r := start(t, func(s *Settings, _ *trace.Settings) { s.HTTPPorts = []uint16{1} })
	client, server := pair(t, r)
	send(t, client, get)
	if head := readHead(t, server); head != get {
		t.Errorf("the server received %q", head)
	}
}

func TestDrainServesWhileConnectionsLive(t *testing.T) {
	r := start(t)
	client, server := pair(t, r)
	send(t, client, get)
	readHead(t, server)
	r.stop()
	// The application may still need others to finish its answer.
	r.to(serving(t, func(conn *net.TCPConn) {
		readHead(t, conn)
		io.WriteString(conn, empty)
	}))
	for range 2 {
		out := dial(t, r.outbound)
		send(t, out, get)
		expect(t, out, empty)
		out.Close()
	}
	select {
	case <-r.stopped:
		t.Fatal("stopped with a request in flight")
	default:
	}
	send(t, server, empty)
	expect(t, client, empty)
	client.Close()
	server.Close()
	<-r.stopped
	if _, err := net.Dial("tcp", r.inbound.Addr().String()); err == nil {
		t.Error("still accepting after the end")
	}
	for _, span := range r.spans.wait(t, 3) {
		if tag(span, "error") != nil {
			t.Errorf("span with an error: %+v", span)
		}
	}
}

func TestTooManyRequestsAheadAreNotFollowed(t *testing.T) {
	r := start(t)
	client, server := pair(t, r)
	go io.WriteString(client, strings.Repeat(get, maxPending+10))
	for range maxPending {
		if !strings.Contains(readHead(t, server), "traceparent: ") {
			t.Fatal("a request within the bound is not traced")
		}
	}
	for range 10 {
		if head := readHead(t, server); head != get {
			t.Fatalf("a request beyond the bound is %q", head)
		}
	}
	send(t, server, strings.Repeat(empty, maxPending+10))
	expect(t, client, strings.Repeat(empty, maxPending+10))
	r.spans.wait(t, maxPending)
}
