package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// The tests here ask a pod as a kubelet does: from outside, by its address, with
// the agent that kubelets have. Each begins with an application that is down.

// kubeletGet asks by HTTP, on a connection of its own. An error says that the
// connection failed.
func kubeletGet(t *testing.T, from netns, url, agent string) (status int, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", agent)
	answer, err := clientIn(from).Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.CopyN(io.Discard, answer.Body, 10<<10)
	if err == io.EOF {
		err = nil
	}
	return answer.StatusCode, err
}

// expectOnly waits until the probes count so, makes a request of a user's, and
// proves that this alone has a span and counts as traffic.
func expectOnly(t *testing.T, peer netns, spans *collector, url string, probes ...string) {
	t.Helper()
	var counted []string
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if counted = series(t, peer, "netra_probes_total"); slices.Equal(counted, probes) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("probes are %q, want %q", counted, probes)
		}
	}
	if status, err := kubeletGet(t, peer, url, "a user's"); err != nil || status != http.StatusOK {
		t.Fatalf("the user's request: %d, %v", status, err)
	}
	// Spans come in the order in which they end, and after they are counted.
	if s := spans.await(t, 1, "everybody", func(*thriftgen.Span) bool { return true })[0]; tag(s, "http.user_agent") != "a user's" {
		t.Errorf("the span is %+v", s)
	}
	want := []string{`netra_requests_total{direction="inbound",peer="",code="2xx"} 1`}
	if got := series(t, peer, "netra_requests_total", "netra_links_total", "netra_tcp_connections_total"); !slices.Equal(got, want) {
		t.Errorf("traffic is %q, want %q", got, want)
	}
}

// series returns the lines of the pod's metrics with these names.
func series(t *testing.T, from netns, names ...string) (lines []string) {
	t.Helper()
	answer, err := clientIn(from).Get("http://" + podV4 + ":14958/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, "{")
		if slices.Contains(names, name) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func ok(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }

func TestTCPProbesInAPod(t *testing.T) {
	pod, peer, spans, _ := captured(t)
	v4, v6 := podV4, "["+podV6+"]"
	expect := func(host string, port, want int, when string) {
		t.Helper()
		if status, err := kubeletGet(t, peer, fmt.Sprintf("http://%s:14958/probe/tcp/%d", host, port), "kube-probe/1.36"); err != nil || status != want {
			t.Errorf("%s, %s: %d, %v, want %d", when, host, status, err, want)
		}
	}
	// Why this is asked of netra: a connection is accepted in any case.
	conn, err := peer.dial(podV4 + ":8080")
	if err != nil {
		t.Fatalf("a redirected port refuses a connection: %v", err)
	}
	conn.Close()
	for _, host := range []string{v4, v6} {
		expect(host, 8080, http.StatusServiceUnavailable, "nobody listens")
	}
	loopback := pod.listen("127.0.0.1:8080")
	expect(v4, 8080, http.StatusServiceUnavailable, "the application listens on loopback")
	loopback.Close()
	only := pod.listen(podV4 + ":8080")
	expect(v4, 8080, http.StatusOK, "the application listens on one address")
	expect(v6, 8080, http.StatusServiceUnavailable, "the application listens on the other address")
	only.Close()
	expect(v4, 8080, http.StatusServiceUnavailable, "the application has closed its listener")
	// The kernel has but one port to dial from, and nobody listens there.
	if err := pod.do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40000"), 0)
	}); err != nil {
		t.Fatal(err)
	}
	expect(v4, 40000, http.StatusServiceUnavailable, "a socket could connect to itself")
	if err := pod.do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("32768 60999"), 0)
	}); err != nil {
		t.Fatal(err)
	}
	go http.Serve(pod.listen(":8080"), http.HandlerFunc(ok))
	for _, host := range []string{v4, v6} {
		expect(host, 8080, http.StatusOK, "the application listens")
	}
	expectOnly(t, peer, spans, "http://"+podV4+":8080/user",
		`netra_probes_total{kind="tcp",code="2xx"} 3`, `netra_probes_total{kind="tcp",code="5xx"} 6`)
}

func TestHTTPProbesAndHooksInAPod(t *testing.T) {
	pod, peer, spans, _ := captured(t)
	url := "http://" + podV4 + ":8080"
	if status, err := kubeletGet(t, peer, url+"/ready", "kube-probe/1.36"); err == nil {
		t.Errorf("the application is down, and a probe is answered %d", status)
	} else if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("the application is down, and a probe fails with %v", err)
	}
	var code atomic.Int64
	heads := make(chan http.Header, 10)
	go http.Serve(pod.listen(":8080"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/user" {
			heads <- r.Header
			w.WriteHeader(int(code.Load()))
		}
		w.Write(make([]byte, 1<<20)) // longer than what a kubelet reads
	}))
	for _, agent := range []string{"kube-probe/1.36", "kube-lifecycle/1.36"} {
		for _, want := range []int{500, 503, 200} {
			code.Store(int64(want))
			if got, err := kubeletGet(t, peer, url+"/ready", agent); err != nil || got != want {
				t.Errorf("%s: %d, %v, want %d", agent, got, err, want)
			}
			head := <-heads
			head.Del("Accept-Encoding") // of Go's client
			head.Del("Connection")
			if len(head) != 1 || head.Get("User-Agent") != agent {
				t.Errorf("%s: the application received %v", agent, head)
			}
		}
	}
	expectOnly(t, peer, spans, url+"/user",
		`netra_probes_total{kind="http",code="2xx"} 1`, `netra_probes_total{kind="http",code="5xx"} 2`, `netra_probes_total{kind="http",code="none"} 1`,
		`netra_probes_total{kind="lifecycle",code="2xx"} 1`, `netra_probes_total{kind="lifecycle",code="5xx"} 2`)
}

// kubeletCheck asks by gRPC, as a kubelet does.
func kubeletCheck(t *testing.T, from netns, address, service string) (healthpb.HealthCheckResponse_ServingStatus, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/1.36"),
		grpc.WithContextDialer(func(_ context.Context, address string) (net.Conn, error) { return from.dial(address) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	return answer.GetStatus(), err
}

func TestGRPCProbesInAPod(t *testing.T) {
	pod, peer, spans, _ := captured(t)
	if got, err := kubeletCheck(t, peer, podV4+":50051", ""); status.Code(err) != codes.Unavailable {
		t.Errorf("the application is down, and a probe is answered %v, %v", got, err)
	}
	server, state := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(server, state)
	go server.Serve(pod.listen(":50051"))
	t.Cleanup(server.Stop)
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVING} {
		state.SetServingStatus("orders", want)
		if got, err := kubeletCheck(t, peer, podV4+":50051", "orders"); err != nil || got != want {
			t.Errorf("the service is %v, %v, want %v", got, err, want)
		}
	}
	if got, err := kubeletCheck(t, peer, podV4+":50051", "another"); status.Code(err) != codes.NotFound {
		t.Errorf("a service that does not exist is %v, %v", got, err)
	}
	go http.Serve(pod.listen(":8080"), http.HandlerFunc(ok))
	expectOnly(t, peer, spans, "http://"+podV4+":8080/user", `netra_probes_total{kind="http",code="2xx"} 3`)
}
