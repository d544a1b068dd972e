package load

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestScheduleAddsUpNoError(t *testing.T) {
	s := newSchedule(1000, 3000, time.Minute)
	if s.total != 180_000 {
		t.Errorf("total = %d, want 180000", s.total)
	}
	for i, want := range map[int]int64{0: 1000, 1: 334_333, 3: 1_001_000, 3000: 1_000_001_000, 179_999: 59_999_667_666} {
		if got := s.due(i); got < want-1 || got > want+1 {
			t.Errorf("due(%d) = %d, want %d", i, got, want)
		}
	}
	// A period that is no whole number of nanoseconds, after an hour.
	if got, want := newSchedule(0, 7000, time.Hour).due(7000*3600), int64(time.Hour); got < want-int64(time.Millisecond) || got > want {
		t.Errorf("an hour's last request is due at %d, want %d", got, want)
	}
}

func TestSummarise(t *testing.T) {
	var hundred []int64
	for i := 100; i > 0; i-- {
		hundred = append(hundred, int64(i)*1000)
	}
	for name, c := range map[string]struct {
		samples []int64
		want    Latency
	}{
		"none":    {nil, Latency{}},
		"one":     {[]int64{5000}, Latency{5, 5, 5, 5, 5, 5}},
		"two":     {[]int64{3000, 1000}, Latency{2, 1, 3, 3, 3, 3}},
		"hundred": {hundred, Latency{50.5, 50, 90, 99, 100, 100}},
	} {
		if got := summarise(c.samples); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestRankIsTheNearest(t *testing.T) {
	for _, c := range []struct {
		n     int
		share float64
		want  int
	}{{1, .5, 0}, {2, .5, 0}, {3, .5, 1}, {100, .99, 98}, {101, .99, 99}, {1000, .999, 998}, {10, 1, 9}, {10, 0, 0}} {
		if got := rank(c.n, c.share); got != c.want {
			t.Errorf("rank(%d, %g) = %d, want %d", c.n, c.share, got, c.want)
		}
	}
}

// However an answer is cut, it is complete at its last byte, and not before.
func TestAnswerInPieces(t *testing.T) {
	const text = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-LENGTH: 4\r\nConnection: Close\r\n\r\nbody"
	for size := 1; size <= len(text); size++ {
		a := answer{}
		a.reset()
		for from := 0; from < len(text); from += size {
			to := min(from+size, len(text))
			done, err := a.feed([]byte(text[from:to]))
			if err != nil || done != (to == len(text)) {
				t.Fatalf("pieces of %d: after %d of %d bytes: %v, %v", size, to, len(text), done, err)
			}
		}
		if a.status != 200 || !a.close {
			t.Fatalf("pieces of %d: status %d, close %v", size, a.status, a.close)
		}
	}
}

func TestAnswerFaults(t *testing.T) {
	for text, want := range map[string]error{
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy":                 errTrailing,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": errLength,
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n":                  errLength,
		"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n":                   errStatus,
		"SSH-2.0-dropbear\r\n\r\n":                                       errStatus,
		"\r\n\r\n":                                                       errStatus,
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHead):          errHead,
	} {
		var a answer
		if _, err := a.feed([]byte(text)); err != want {
			t.Errorf("%.40q: %v, want %v", text, err, want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"), 7)
	f.Add([]byte("HTTP/1.0 404 No\r\ncontent-length: 0\r\nConnection: close\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		var whole, parts answer
		done, err := whole.feed(text)
		if err != nil || !done || cut <= 0 || cut >= len(text) {
			return
		}
		// What is an answer in one piece is one in two.
		first, err := parts.feed(text[:cut])
		if first && err == nil {
			t.Fatalf("%q is complete without %q", text[:cut], text[cut:])
		}
		second, err2 := parts.feed(text[cut:])
		if err != nil || err2 != nil || !second || parts.status != whole.status {
			t.Fatalf("%q and %q: %v, %v, %v", text[:cut], text[cut:], second, err, err2)
		}
	})
}

func TestRingTakesTurns(t *testing.T) {
	r := newRing(3)
	for i := range 3 {
		r.push(i)
	}
	for want := range 10 {
		i := r.pop()
		if i != want%3 {
			t.Fatalf("turn %d: %d, want %d", want, i, want%3)
		}
		r.push(i)
	}
	if r.len() != 3 {
		t.Errorf("len = %d, want 3", r.len())
	}
}

// serve answers requests on a loopback port, and returns how many connections
// it has had.
func serve(t *testing.T, handler http.HandlerFunc) (netip.AddrPort, func() int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan struct{}, 10_000)
	server := &http.Server{Handler: handler, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns <- struct{}{}
		}
	}}
	go server.Serve(l)
	t.Cleanup(func() { server.Shutdown(context.WithoutCancel(t.Context())) })
	return netip.MustParseAddrPort(l.Addr().String()), func() int { return len(conns) }
}

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

// Every request that is due is sent and answered, on as many connections as
// were asked for.
func TestRunOpenLoop(t *testing.T) {
	target, conns := serve(t, hello)
	r, err := Run(Config{Target: target, Path: "/", Conns: 4, Rate: 200, Warmup: 100 * time.Millisecond, Duration: 400 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.OK != 100 || r.Failed() != 0 || r.Redials != 0 {
		t.Errorf("%+v: want 100 requests, all well", r)
	}
	if r.Samples != 80 || r.Service.P50 <= 0 || r.Due.P50 < r.Service.P50 {
		t.Errorf("%+v: want 80 samples, and waiting to count", r)
	}
	if n := conns(); n != 4 {
		t.Errorf("%d connections, want 4", n)
	}
}

func TestRunChurn(t *testing.T) {
	target, conns := serve(t, hello)
	r, err := Run(Config{
		Target: target, Path: "/", Conns: 50, Rate: 100, Duration: 300 * time.Millisecond, Churn: true,
		Sources: []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed() != 0 || r.OK != 30 {
		t.Errorf("%+v: want 30 requests, all well", r)
	}
	if n := conns(); n != 30 {
		t.Errorf("%d connections, want 30", n)
	}
}

func TestRunClosedLoop(t *testing.T) {
	target, _ := serve(t, hello)
	r, err := Run(Config{Target: target, Path: "/", Conns: 2, Duration: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.OK < 2 || r.Failed() != 0 || r.Rate <= 0 {
		t.Errorf("%+v: want more than one request on each connection, all well", r)
	}
}

// What goes wrong is counted, and the connections that the server closes are
// made anew.
func TestRunCountsWhatGoesWrong(t *testing.T) {
	target, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bad":
			http.Error(w, "no", http.StatusTeapot)
		case "/close":
			w.Header().Set("Connection", "close")
		case "/break":
			panic(http.ErrAbortHandler)
		}
	})
	for path, good := range map[string]func(*Result) bool{
		"/bad":   func(r *Result) bool { return r.BadStatus == 20 && r.Failed() == 20 },
		"/close": func(r *Result) bool { return r.OK == 20 && r.Redials > 0 && r.Failed() == 0 },
		"/break": func(r *Result) bool { return r.Errors == 20 && r.LastError != "" && r.Failed() == 20 },
	} {
		r, err := Run(Config{Target: target, Path: path, Conns: 2, Rate: 100, Duration: 200 * time.Millisecond})
		if err != nil || !good(r) {
			t.Errorf("%s: %+v, %v", path, r, err)
		}
	}
}

func TestRunWithoutAServer(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	if _, err := Run(Config{Target: target, Path: "/", Conns: 1, Rate: 1, Duration: time.Second}); err == nil || !strings.Contains(err.Error(), unix.ECONNREFUSED.Error()) {
		t.Errorf("keep-alive: %v, want a refusal", err)
	}
	r, err := Run(Config{Target: target, Path: "/", Conns: 5, Rate: 100, Duration: 200 * time.Millisecond, Churn: true})
	if err != nil || r.ConnErrors != 20 || r.Failed() != 20 {
		t.Errorf("new connections: %+v, %v; want 20 refusals", r, err)
	}
}

func TestConfigFaultsAreReportedAtOnce(t *testing.T) {
	_, err := Run(Config{Target: netip.MustParseAddrPort("[::1]:80"), Rate: -1, Warmup: -1})
	for _, want := range []string{"[::1]:80", "0 connections", "rate -1", "warm-up -1ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not name %q", err, want)
		}
	}
}
