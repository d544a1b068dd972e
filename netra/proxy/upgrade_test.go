package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c" //nolint:staticcheck // no other Go server answers Upgrade: h2c

	"github.com/formicarium/formicarium/netra/metrics"
)

const (
	upgrading = "POST /first HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAQAA\r\nContent-Length: 4\r\n\r\nbody"
	switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
)

// TestUpgradeToHTTP2 upgrades a connection to a real server: the request becomes
// stream 1, the next is stream 3.
func TestUpgradeToHTTP2(t *testing.T) {
	heads := make(chan http.Header, 2)
	backend := listen(t)
	handler := h2c.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:staticcheck // as above
		heads <- r.Header
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, r.ProtoMajor, " ", string(body))
	}), &http2.Server{}) //nolint:staticcheck // as above
	go http.Serve(backend, handler)
	r := start(t)
	r.to(backend)
	conn := dial(t, r.inbound)
	send(t, conn, upgrading)
	expect(t, conn, switching)
	client := newEnd(t, conn)
	send(t, conn, http2.ClientPreface)
	client.WriteSettings()
	expectAnswer := func(id uint32, body string) {
		t.Helper()
		want := []string{fmt.Sprintf("HEADERS %d end false", id), fmt.Sprintf("DATA %d 1 %q", id, body)}
		for len(want) > 0 {
			if got := client.read(); strings.HasPrefix(got, want[0]) {
				want = want[1:]
			} else if strings.HasPrefix(got, "DATA") || strings.HasPrefix(got, "HEADERS") {
				t.Fatalf("received %q, want %q", got, want[0])
			}
		}
	}
	expectAnswer(1, "1 body") // its head came as HTTP/1
	client.request(3, true, parent)
	expectAnswer(3, "2 ")
	spans := r.spans.wait(t, 2)
	for i, want := range []string{"POST /first 201 4 6", "GET /orders/{id} 201 0 2"} {
		s := spans[i]
		if got := fmt.Sprint(s.Name, " ", tag(s, "http.status_code"), " ", tag(s, "http.request_size"), " ", tag(s, "http.response_size")); got != want {
			t.Errorf("span %d is %s, want %s", i, got, want)
		}
		if (<-heads).Get("Traceparent") == "" {
			t.Errorf("request %d came without trace headers", i)
		}
	}
}

func TestUpgradesThatAreNotToHTTP2(t *testing.T) {
	const plain101 = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
	tests := []struct{ name, early, answer, blind string }{
		{"another protocol", "", plain101, "upgrade"},
		{"frames before the answer", http2.ClientPreface, switching, "upgrade"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t)
			client, server := pair(t, r)
			send(t, client, upgrading)
			readHead(t, server)
			expect(t, server, "body")
			send(t, client, tt.early)
			expect(t, server, tt.early)
			send(t, server, tt.answer)
			expect(t, client, tt.answer)
			frames := newEnd(t, client)
			frames.request(3, true)
			newEnd(t, server).expectUntouched()
			r.spans.wait(t, 1)
			eventually(t, func() bool {
				return r.metrics.Blind.Value(metrics.Cause{Direction: "inbound", Reason: tt.blind}) == 1
			})
		})
	}
}

func (e *peer) expectUntouched() {
	e.t.Helper()
	if got := e.read(); strings.Contains(got, "traceparent") {
		e.t.Errorf("received %q", got)
	}
}

// TestNetHTTP holds conversations between net/http's client and server, from pod
// to pod.
func TestNetHTTP(t *testing.T) {
	backend := serveHTTP2(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Traceparent") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Trailer", "X-Sum")
		n, _ := io.Copy(w, r.Body) // both ways at once
		w.Header().Set("X-Sum", fmt.Sprint(n, " ", r.Trailer.Get("X-Sent")))
	}))
	client, server := pods(t, backend)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	const requests, size = 20, 1 << 20
	if err := echo(t, transport, client.outbound, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, requests)
	for i := range requests {
		go func() { failed <- echo(t, transport, client.outbound, bytes.Repeat([]byte{byte(i)}, size)) }()
	}
	for range requests {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	for _, r := range []*rig{client, server} {
		for _, s := range r.spans.wait(t, requests+1) {
			if s.Name != "POST /echo" || tag(s, "http.status_code") != int64(200) || tag(s, "http.request_size") != int64(size) || tag(s, "http.response_size") != int64(size) || tag(s, "error") != nil {
				t.Errorf("span = %+v", s)
			}
		}
	}
	if n := server.metrics.Inbound.Connections.Load(); n != 1 {
		t.Errorf("%d connections, want the streams on one", n)
	}
}

// echo sends a body and a trailer and expects both back.
func echo(t *testing.T, transport *http.Transport, to net.Listener, body []byte) error {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+to.Addr().String()+"/echo", io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return err
	}
	request.Trailer = http.Header{"X-Sent": {"all"}}
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || !bytes.Equal(got, body) {
		return fmt.Errorf("received %d bytes, %w", len(got), err)
	}
	if want := fmt.Sprint(len(body), " all"); response.Trailer.Get("X-Sum") != want {
		return fmt.Errorf("trailers are %v, want X-Sum: %s", response.Trailer, want)
	}
	return nil
}

// TestUnreachableServerOfHTTP2 expects a span of a call that could not be made.
func TestUnreachableServerOfHTTP2(t *testing.T) {
	r := start(t)
	closed := listen(t)
	closed.Close()
	r.to(closed)
	out := dial(t, r.outbound)
	var sent bytes.Buffer
	e := newEnd(t, &sent)
	e.WriteSettings()
	e.request(1, true)
	send(t, out, http2.ClientPreface+sent.String())
	expectReset(t, out)
	span := r.spans.wait(t, 1)[0]
	if tag(span, "error.reason") != "destination refused" || span.Name != "GET /orders/{id}" || tag(span, "span.kind") != "client" {
		t.Errorf("span = %+v", span)
	}
}
