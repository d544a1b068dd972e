package proxy

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

// patience bounds every wait of a test for something that should happen at
// once; it only decides how long a failure takes.
const patience = 20 * time.Second

// recorder is an Exporter that keeps the spans.
type recorder struct {
	mu    sync.Mutex
	spans []trace.Span
}

func (r *recorder) Sample(trace.Context, string) bool { return true }

func (r *recorder) Export(s trace.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, s)
}

// wait returns the spans once there are n.
func (r *recorder) wait(t testing.TB, n int) []trace.Span {
	t.Helper()
	var spans []trace.Span
	eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		spans = append([]trace.Span(nil), r.spans...)
		return len(spans) >= n
	})
	if len(spans) > n {
		t.Fatalf("%d spans, want %d: %+v", len(spans), n, spans)
	}
	return spans
}

func tag(s trace.Span, key string) any {
	for _, tag := range s.Tags {
		if tag.Key == key {
			return tag.Value
		}
	}
	return nil
}

// rig is a running proxy whose connections all go to one backend.
type rig struct {
	proxy             *Proxy
	metrics           *metrics.Set
	spans             *recorder
	inbound, outbound net.Listener
	stop              func() // as SIGTERM does
	stopped           chan struct{}

	mu      sync.Mutex
	backend netip.AddrPort
}

func (r *rig) destination(int) (netip.AddrPort, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backend, nil
}

func (r *rig) to(l net.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.backend = addrPort(l.Addr())
}

// start runs a proxy until the test ends; configure may change its settings.
func start(t testing.TB, configure ...func(*Settings, *trace.Settings)) *rig {
	t.Helper()
	return startWith(t, func(*Proxy) {}, configure...)
}

// startWith runs a proxy that change may have changed.
func startWith(t testing.TB, change func(*Proxy), configure ...func(*Settings, *trace.Settings)) *rig {
	t.Helper()
	r := &rig{metrics: metrics.New("test"), spans: &recorder{}, inbound: listen(t), outbound: listen(t), stopped: make(chan struct{})}
	s := Settings{Destination: r.destination, DialTimeout: patience, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	ts := trace.Settings{
		RequestIDHeader: "X-Request-Id", SourceHeader: "X-Source", Propagation: []trace.Format{trace.W3C, trace.Jaeger},
		Expiration: time.Hour, CleanupInterval: time.Hour,
	}
	for _, c := range configure {
		c(&s, &ts)
	}
	var err error
	if r.proxy, err = New(s, trace.New(ts, r.spans, r.metrics), r.metrics); err != nil {
		t.Fatal(err)
	}
	change(r.proxy)
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		defer close(r.stopped)
		r.proxy.Run(ctx, r.inbound, r.outbound, patience)
	}()
	t.Cleanup(func() {
		cancel()
		r.proxy.abort()
		select {
		case <-r.stopped:
		case <-time.After(patience):
			t.Error("the proxy did not stop")
		}
	})
	return r
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serving returns a listener each of whose connections is handled by handle.
func serving(t testing.TB, handle func(*net.TCPConn)) net.Listener {
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(patience))
			go func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			}()
		}
	}()
	return l
}

func dial(t testing.TB, l net.Listener) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func send(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatalf("writing %.40q: %v", s, err)
	}
}

// expect reads exactly want.
func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(r, got)
	if err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

// expectEnd reads the end of the stream.
func expectEnd(t testing.TB, r io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Fatalf("read %.60q, %v; want the end of the stream", rest, err)
	}
}

func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came to be")
		}
	}
}

// readHead reads up to an empty line, from a connection on which nothing
// follows it yet or whose further bytes the caller reads.
func readHead(t testing.TB, r io.Reader) string {
	t.Helper()
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one[0]) {
		if _, err := io.ReadFull(r, one); err != nil {
			t.Errorf("reading a head after %q: %v", head, err)
			return string(head)
		}
	}
	return string(head)
}

// plain removes the fields that the proxy inserts.
func plain(s string) string {
	for _, name := range []string{"traceparent: ", "uber-trace-id: ", "X-Request-Id: "} {
		for at := 0; ; {
			i := strings.Index(s[at:], "\r\n"+name)
			if i < 0 {
				break
			}
			at += i + 2
			end := strings.Index(s[at:], "\r\n")
			if end < 0 {
				break
			}
			s = s[:at-2] + s[at+end:]
			at -= 2
		}
	}
	return s
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// reset closes a connection with a reset.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// drained waits until the other end has received everything that was written.
func drained(t testing.TB, conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	eventually(t, func() bool {
		unsent := 0
		if err := raw.Control(func(fd uintptr) { unsent = unsentBytes(int(fd)) }); err != nil {
			t.Error(err)
		}
		return unsent == 0
	})
}
