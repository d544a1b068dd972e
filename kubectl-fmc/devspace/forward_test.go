package devspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
)

// portForwardServer is an API server that does nothing but port-forward, over
// SPDY, to a loopback address.
type portForwardServer struct {
	*httptest.Server
	backend string // address; empty refuses with a message

	mu    sync.Mutex
	pods  []string // asked for, in order
	conns []httpstream.Connection
}

func newPortForwardServer(t *testing.T, backend string) *portForwardServer {
	t.Helper()
	s := &portForwardServer{backend: backend}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.cut()
		s.Close()
	})
	return s
}

func (s *portForwardServer) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "no WebSocket here", http.StatusBadRequest) // as older servers answer
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		return
	}
	// Nothing is carried before the connection is among those that cut ends.
	known := make(chan struct{})
	var mu sync.Mutex
	faults := map[string]httpstream.Stream{}
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, replied <-chan struct{}) error {
		id := stream.Headers().Get(corev1.PortForwardRequestIDHeader)
		mu.Lock()
		defer mu.Unlock()
		if stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
			faults[id] = stream
			return nil
		}
		fault := faults[id]
		go func() {
			<-replied
			<-known
			s.forward(stream, fault)
		}()
		return nil
	})
	if conn == nil {
		return
	}
	s.mu.Lock()
	s.pods = append(s.pods, r.URL.Path)
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	close(known)
	<-conn.CloseChan()
}

func (s *portForwardServer) forward(data, fault httpstream.Stream) {
	// In the kubelet's order: the reason is whole before the data ends.
	defer data.Close()
	defer fault.Close()
	conn, err := net.Dial("tcp", s.backend)
	if err != nil {
		fmt.Fprintf(fault, "connection refused by port %s", data.Headers().Get(corev1.PortHeader))
		return
	}
	defer conn.Close()
	go func() {
		io.Copy(conn, data)
		conn.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(data, conn)
}

// cut ends all connections, as an API server that is restarted does.
func (s *portForwardServer) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
}

func (s *portForwardServer) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.pods...)
}

// echo is a service in a pod: it answers with the request's path and body.
func echo(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, body)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func post(client *http.Client, path, body string) (string, error) {
	response, err := client.Post("http://any"+path, "text/plain", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func TestForwarderCarriesRequestsOverOneConnection(t *testing.T) {
	server := newPortForwardServer(t, echo(t))
	f := NewForwarder(&rest.Config{Host: server.URL}, "mine", FixedPod("tanajura-1", 3002))
	client := &http.Client{Transport: f.Transport(nil)}
	defer f.Close()
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			body := strings.Repeat(fmt.Sprint(i), 100_000)
			got, err := post(client, "/a", body)
			if err != nil || got != "/a "+body {
				t.Errorf("request %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	wait.Wait()
	if asked := server.asked(); len(asked) != 1 || asked[0] != "/api/v1/namespaces/mine/pods/tanajura-1/portforward" {
		t.Errorf("connections = %v, want one", asked)
	}
}

func TestForwarderReconnects(t *testing.T) {
	server := newPortForwardServer(t, echo(t))
	pods := []string{"tanajura-1", "tanajura-2"}
	target := func(context.Context) (string, int, error) {
		pod := pods[0]
		pods = pods[1:]
		return pod, 3002, nil
	}
	f := NewForwarder(&rest.Config{Host: server.URL}, "mine", target)
	client := &http.Client{Transport: f.Transport(nil)}
	defer f.Close()
	if _, err := post(client, "/a", "1"); err != nil {
		t.Fatal(err)
	}
	server.cut()
	// The first request after the cut may find it out; the one after it must not.
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := post(client, "/b", "2")
		if err == nil {
			if got != "/b 2" {
				t.Errorf("answer = %q", got)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if f.Pod() != "tanajura-2" {
		t.Errorf("pod = %q, want the one that took the first's place", f.Pod())
	}
}

func TestForwarderTellsTheReason(t *testing.T) {
	server := newPortForwardServer(t, "127.0.0.1:1")
	f := NewForwarder(&rest.Config{Host: server.URL}, "mine", FixedPod("tanajura-1", 3002))
	defer f.Close()
	_, err := post(&http.Client{Transport: f.Transport(nil)}, "/", "")
	if err == nil || !strings.Contains(err.Error(), "connection refused by port 3002") {
		t.Errorf("error = %v, want the pod's reason", err)
	}
}

func TestForwarderWithoutTarget(t *testing.T) {
	none := errors.New("no pod is ready")
	f := NewForwarder(&rest.Config{Host: "http://127.0.0.1:1"}, "mine", func(context.Context) (string, int, error) { return "", 0, none })
	if _, err := f.Dial(t.Context()); !errors.Is(err, none) {
		t.Errorf("Dial = %v, want %v", err, none)
	}
}

func TestForwarderClosed(t *testing.T) {
	server := newPortForwardServer(t, echo(t))
	f := NewForwarder(&rest.Config{Host: server.URL}, "mine", FixedPod("tanajura-1", 3002))
	conn, err := f.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := io.ReadAll(conn); err == nil {
		// An end is as good as an error: what matters is that it comes.
		t.Log("the connection ended")
	}
	if _, err := f.Dial(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial after Close = %v, want net.ErrClosed", err)
	}
}

func TestForwarderDialEndsWithItsContext(t *testing.T) {
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer server.Close()
	defer close(hold)
	ctx, cancel := context.WithCancel(t.Context())
	f := NewForwarder(&rest.Config{Host: server.URL}, "mine", FixedPod("tanajura-1", 3002))
	go func() {
		time.Sleep(10 * time.Millisecond)
		cancel()
	}()
	if _, err := f.Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial = %v, want the context's end", err)
	}
}
