package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// probing serves the admin port on loopback and returns how to ask it for a port.
func probing(t *testing.T, network, address string, set *metrics.Set, own ...uint16) func(port any) (status int, reason string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	server := adminServer(admin(set, new(atomic.Bool), own...))
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return func(port any) (int, string) {
		t.Helper()
		answer, err := (&http.Client{Timeout: patience}).Get(fmt.Sprintf("http://%s/probe/tcp/%v", l.Addr(), port))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		reason, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, string(reason)
	}
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func TestTCPProbe(t *testing.T) {
	for _, family := range []struct{ network, address string }{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}} {
		t.Run(family.network, func(t *testing.T) {
			set := metrics.New("")
			ask := probing(t, family.network, family.address, set)
			app, err := net.Listen(family.network, family.address)
			if err != nil {
				t.Fatal(err)
			}
			port := portOf(app)
			if status, reason := ask(port); status != http.StatusOK {
				t.Errorf("while the port is open: %d %s", status, reason)
			}
			// It has hung up and sent nothing.
			conn, err := app.Accept()
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(patience))
			if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
				t.Errorf("the application received %q, %v", got, err)
			}
			conn.Close()
			app.Close()
			if status, reason := ask(port); status != http.StatusServiceUnavailable || !strings.Contains(reason, "refused") {
				t.Errorf("while the port is closed: %d %s", status, reason)
			}
			for _, code := range []string{"2xx", "5xx"} {
				if n := set.Probes.Value(metrics.Probe{Kind: metrics.ProbeTCP, Code: code}); n != 1 {
					t.Errorf("%d probes count as %s, want 1", n, code)
				}
			}
		})
	}
}

// It is the address that was asked at which the port has to be open.
func TestTCPProbeOfTheOtherFamily(t *testing.T) {
	app, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	ask := probing(t, "tcp4", "127.0.0.1:0", metrics.New(""))
	if status, reason := ask(portOf(app)); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, reason)
	}
}

func TestTCPProbeOfNoPort(t *testing.T) {
	set := metrics.New("")
	ask := probing(t, "tcp4", "127.0.0.1:0", set, 14956)
	for _, port := range []string{"0", "65536", "-1", "+80", "http", "80.", "0x50", "14956", "10.0.0.1:80", "99999999999999999999"} {
		if status, reason := ask(port); status != http.StatusBadRequest || !strings.Contains(reason, fmt.Sprintf("port %q", port)) {
			t.Errorf("port %s: %d %s", port, status, reason)
		}
	}
	for _, path := range []string{"", "10.0.0.1/80", "80/x"} {
		if status, reason := ask(path); status != http.StatusNotFound {
			t.Errorf("path %s: %d %s", path, status, reason)
		}
	}
	w := httptest.NewRecorder()
	newTCPProber(set, nil).ServeHTTP(w, requestOf("80"))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("where the address is unknown: %d %s", w.Code, w.Body)
	}
}

func requestOf(port string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.SetPathValue("port", port)
	return r
}

// An application that accepts nothing, and whose queue is full, holds up no more
// probes than there may be, and these not for ever.
func TestTCPProbesAreBounded(t *testing.T) {
	app := fullQueue(t)
	prober := newTCPProber(metrics.New(""), nil)
	prober.limit = time.Hour
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.SetPathValue("port", r.URL.Path[1:])
		prober.ServeHTTP(w, r)
	}))
	defer server.Close()
	ask := func() (int, error) {
		answer, err := (&http.Client{Timeout: patience}).Get(fmt.Sprintf("%s/%d", server.URL, app))
		if err != nil {
			return 0, err
		}
		answer.Body.Close()
		return answer.StatusCode, nil
	}
	for range maxProbes {
		prober.slots <- struct{}{}
	}
	if status, err := ask(); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("one probe more: %d, %v", status, err)
	}
	for range maxProbes {
		<-prober.slots
	}
	prober.limit = 10 * time.Millisecond
	if status, err := ask(); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("a port that does not answer: %d, %v", status, err)
	}
	if n := len(prober.slots); n != 0 {
		t.Errorf("%d slots are still taken", n)
	}
}

// fullQueue returns a port whose queue of new connections is full.
func fullQueue(t *testing.T) (port int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port = name.(*syscall.SockaddrInet4).Port
	for range 4 { // the first takes the only place, whatever this end makes of it
		if conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 100*time.Millisecond); err == nil {
			t.Cleanup(func() { conn.Close() })
		}
	}
	return port
}
