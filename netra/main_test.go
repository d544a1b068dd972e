package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uber/jaeger-client-go/thrift"
	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/netra/redirect"
)

// patience bounds every wait for something that should happen at once.
const patience = 20 * time.Second

// TestMain lets the test binary be netra, so that a test can start it as a
// process with a user and a network namespace of its own.
func TestMain(m *testing.M) {
	if os.Getenv("NETRA_TEST_MAIN") == "true" {
		os.Exit(run.Main("netra", serve))
	}
	os.Exit(m.Run())
}

// TestInAPod runs netra in a network namespace with the real redirection. The
// application makes a call for each request and forwards no headers.
func TestInAPod(t *testing.T) {
	pod, peer := podAndPeer(t)
	collector := newCollector(t, peer)
	stop := startNetra(t, pod, "JAEGER_SERVICE_NAME=orders", "JAEGER_ENDPOINT=http://"+peerV4+":14268/api/traces", "POD_NAMESPACE=shop", "NETRA_TRACING_CONTEXT_EXPIRATION_MILLISECONDS=60000")
	capture(t, pod)
	heads := startServices(t, pod, peer)

	for _, family := range []struct{ pod, peer, link string }{{podV4, peerV4, "inferred"}, {"[" + podV6 + "]", "[" + peerV6 + "]", "likely"}} {
		t.Run(family.pod, func(t *testing.T) {
			client := clientIn(peer)
			answer, err := client.Get("http://" + family.pod + ":8080/orders/17?call=" + family.peer)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			if string(body) != "42 in stock" {
				t.Errorf("answer %q", body)
			}
			in, out := traceparentOf(t, <-heads), traceparentOf(t, <-heads)
			if in[1] != out[1] {
				t.Errorf("the call is in trace %s, the request was in %s", out[1], in[1])
			}
			server, call := collector.find(t, in[2]), collector.find(t, out[2])
			if server.OperationName != "GET /orders/{id}" || server.ParentSpanId != 0 || tag(server, "span.kind") != "server" {
				t.Errorf("server span %+v", server)
			}
			if call.OperationName != "GET /inventory/{id}" || call.ParentSpanId != server.SpanId || tag(call, "netra.link") != family.link ||
				tag(call, "peer.address") != family.peer+":9090" {
				t.Errorf("client span %+v", call)
			}
			banner, err := peer.dial(family.pod + ":2525")
			if err != nil {
				t.Fatal(err)
			}
			defer banner.Close()
			if got, err := io.ReadAll(banner); string(got) != "220 hello" || err != nil {
				t.Errorf("banner %q, %v", got, err)
			}
			// Netra's own port is not redirected, so nothing may come of this.
			if conn, err := peer.dial(family.pod + ":14956"); err == nil {
				if got, err := io.ReadAll(conn); err == nil {
					t.Errorf("netra's own port answers %q", got)
				}
				conn.Close()
			}
		})
	}
	expectMetrics(t, peer)
	if err := stop(); err != nil {
		t.Errorf("netra ended with %v", err)
	}
}

func expectMetrics(t *testing.T, peer netns) {
	t.Helper()
	answer, err := clientIn(peer).Get("http://" + podV4 + ":14958/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(answer.Body)
	for _, line := range []string{
		`netra_requests_total{direction="inbound",peer="",code="2xx"} 2`,
		`netra_requests_total{direction="outbound",peer="10.77.0.2",code="2xx"} 1`,
		`netra_requests_total{direction="outbound",peer="fd77::2",code="2xx"} 1`,
		`netra_links_total{link="inferred"} 1`, `netra_links_total{link="likely"} 1`,
		`netra_blind_copies_total{direction="inbound",reason="server_first"} 2`,
		`netra_refused_connections_total{direction="inbound",reason="not_redirected"} 2`,
		`netra_panics_total 0`,
	} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}

func capture(t *testing.T, pod netns) {
	t.Helper()
	all := redirect.Direction{AllPorts: true, Probability: 1}
	plan, err := redirect.NewPlan(redirect.Settings{
		InboundPort: api.NetraInboundPort, OutboundPort: api.NetraOutboundPort, AdminPort: api.NetraAdminPort, UID: api.NetraUID, Inbound: all, Outbound: all,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := pod.do(func() error {
		_, err := redirect.Apply(t.Context(), plan, redirect.Auto)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// startServices starts the application in the pod and the service that it
// calls, and returns the traceparent headers that each request came with.
func startServices(t *testing.T, pod, peer netns) chan string {
	heads := make(chan string, 4)
	fromPod := clientIn(pod)
	go http.Serve(pod.listen(":8080"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heads <- r.Header.Get("traceparent")
		answer, err := fromPod.Get("http://" + r.FormValue("call") + ":9090/inventory/4711")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		io.Copy(w, answer.Body)
	}))
	go http.Serve(peer.listen(":9090"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heads <- r.Header.Get("traceparent")
		io.WriteString(w, "42 in stock")
	}))
	banner := pod.listen(":2525")
	go func() {
		for {
			conn, err := banner.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "220 hello")
			conn.Close()
		}
	}()
	return heads
}

// clientIn returns an HTTP client in a namespace.
func clientIn(n netns) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(_ context.Context, _, address string) (net.Conn, error) { return n.dial(address) },
	}}
}

func traceparentOf(t *testing.T, value string) []string {
	t.Helper()
	m := regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-01$`).FindStringSubmatch(value)
	if m == nil {
		t.Fatalf("traceparent %q", value)
	}
	return m
}

// collector is a Jaeger collector that keeps the spans.
type collector struct {
	mu    sync.Mutex
	spans []*thriftgen.Span
}

func newCollector(t *testing.T, n netns) *collector {
	c := &collector{}
	go http.Serve(n.listen(":14268"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		memory := thrift.NewTMemoryBuffer()
		io.Copy(memory, r.Body)
		batch := thriftgen.NewBatch()
		if err := batch.Read(r.Context(), thrift.NewTBinaryProtocolTransport(memory)); err != nil || batch.Process.ServiceName != "orders" {
			t.Errorf("batch of %+v: %v", batch.Process, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.spans = append(c.spans, batch.Spans...)
	}))
	return c
}

// find returns the span with this identifier once it has arrived.
func (c *collector) find(t *testing.T, id string) *thriftgen.Span {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		for _, s := range c.spans {
			if fmt.Sprintf("%016x", uint64(s.SpanId)) == id {
				c.mu.Unlock()
				return s
			}
		}
		c.mu.Unlock()
	}
	t.Fatalf("span %s did not arrive", id)
	return nil
}

func tag(s *thriftgen.Span, key string) string {
	for _, tag := range s.Tags {
		if tag.Key == key && tag.VStr != nil {
			return *tag.VStr
		}
	}
	return ""
}
