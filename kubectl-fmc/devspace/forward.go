package devspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	streamhttp "k8s.io/streaming/pkg/httpstream"
)

// Target names the pod and the port a Forwarder's connections lead to. It is
// asked each time there is no connection to the pod, so it may answer with
// another pod than before.
type Target func(ctx context.Context) (pod string, port int, err error)

// Forwarder opens connections to a port of a pod through the API server, with
// the rights of the kubeconfig's user: what `kubectl port-forward` does, but
// without a local listener that other users of the machine could reach.
//
//	f := devspace.NewForwarder(config, "mine", devspace.FixedPod("tanajura-7c9f", 3002))
//	defer f.Close()
//	client := &http.Client{Transport: f.Transport(nil)}
//
// One connection to the API server carries all of them. It is kept, and made
// anew when it ended or the pod was replaced. A Forwarder may be used by
// several goroutines at once.
type Forwarder struct {
	target Target
	// connect opens the connection that carries the others.
	connect func(ctx context.Context, pod string) (httpstream.Connection, error)
	// connectWithin bounds it.
	connectWithin time.Duration

	mu      sync.Mutex
	current *carrier
	closed  bool
}

// carrier is a connection to one pod.
type carrier struct {
	httpstream.Connection
	pod    string
	port   int
	nextID int // guarded by Forwarder.mu
}

// NewForwarder returns a Forwarder to a pod in namespace.
func NewForwarder(config *rest.Config, namespace string, target Target) *Forwarder {
	return &Forwarder{target: target, connectWithin: connectLimit, connect: func(ctx context.Context, pod string) (httpstream.Connection, error) {
		return connectPod(ctx, config, namespace, pod)
	}}
}

// connectLimit bounds how long the way to a pod may take to open. A dial of
// net/http's does not end with the request that it is for, so without it one
// into a black hole would hold up all later ones.
const connectLimit = 15 * time.Second

// FixedPod is a Target that never changes.
func FixedPod(pod string, port int) Target {
	return func(context.Context) (string, int, error) { return pod, port, nil }
}

// Dial opens a connection to the target. A carrying connection that turns out
// to be dead is replaced once before an error is returned.
func (f *Forwarder) Dial(ctx context.Context) (net.Conn, error) {
	for attempt := 0; ; attempt++ {
		c, id, fresh, err := f.carrier(ctx)
		if err != nil {
			return nil, err
		}
		conn, err := f.openStream(ctx, c, id)
		if err == nil {
			return conn, nil
		}
		f.drop(c)
		if fresh || attempt > 0 {
			return nil, fmt.Errorf("opening a stream to port %d of pod %s: %w", c.port, c.pod, err)
		}
	}
}

// PodTransport carries HTTP requests to a port of a pod.
type PodTransport interface {
	http.RoundTripper
	Close() error
}

// PodDialer returns a transport to a pod of namespace. Requests by https go over
// what secure makes of a connection.
type PodDialer func(namespace string, target Target, secure Secure) PodTransport

// forwardPods is the PodDialer that goes through the API server.
func forwardPods(config *rest.Config) PodDialer {
	return func(namespace string, target Target, secure Secure) PodTransport {
		return NewForwarder(config, namespace, target).Transport(secure)
	}
}

// Transport returns an http.RoundTripper whose every connection is made by
// Dial, whatever the request's host, and secured for https. Where a request
// fails, the next one starts with a new connection to the API server. Closing it
// closes f.
func (f *Forwarder) Transport(secure Secure) PodTransport {
	return &forwardTransport{f: f, http: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return f.Dial(ctx) },
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if secure == nil {
				return nil, errors.New("this connection is for plain HTTP only")
			}
			conn, err := f.Dial(ctx)
			if err != nil {
				return nil, err
			}
			return secure(ctx, conn)
		},
		// One warm connection is enough for a developer's saves; the others
		// are for what runs beside them.
		MaxIdleConnsPerHost: 4,
		// What travels is small or packed already.
		DisableCompression: true,
	}}
}

// Pod returns the pod of the current connection, or "".
func (f *Forwarder) Pod() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == nil {
		return ""
	}
	return f.current.pod
}

// Close ends all connections.
func (f *Forwarder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.current != nil {
		f.current.hangUp()
	}
	f.current = nil
	return nil
}

// carrier returns the current connection, or a fresh one, and an id for the
// streams of one more connection on it.
func (f *Forwarder) carrier(ctx context.Context) (c *carrier, id int, fresh bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, 0, false, net.ErrClosed
	}
	if f.current != nil {
		select {
		case <-f.current.CloseChan():
			f.current = nil
		default:
		}
	}
	if f.current == nil {
		ctx, cancel := context.WithTimeoutCause(ctx, f.connectWithin, errNoWay)
		defer cancel()
		pod, port, err := f.target(ctx)
		if err != nil {
			return nil, 0, false, err
		}
		conn, err := f.connect(ctx, pod)
		if err != nil {
			return nil, 0, false, fmt.Errorf("connecting to pod %s through the API server: %w", pod, err)
		}
		f.current, fresh = &carrier{Connection: conn, pod: pod, port: port}, true
	}
	f.current.nextID++
	return f.current, f.current.nextID, fresh, nil
}

var errNoWay = errors.New("no answer: the API server, or the way to it, is away")

// drop forgets c, unless another has taken its place already.
func (f *Forwarder) drop(c *carrier) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == c {
		f.current = nil
	}
	c.hangUp()
}

func (f *Forwarder) dropCurrent() {
	f.mu.Lock()
	c := f.current
	f.mu.Unlock()
	if c != nil {
		f.drop(c)
	}
}

// connectPod opens a port-forward connection: over WebSocket where the API
// server has it, else over SPDY.
func connectPod(ctx context.Context, config *rest.Config, namespace, pod string) (httpstream.Connection, error) {
	url, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's address: %w", err)
	}
	url = url.JoinPath("api/v1/namespaces", namespace, "pods", pod, "portforward")
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a SPDY transport: %w", err)
	}
	overSPDY := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	overWebSocket, err := portforward.NewSPDYOverWebsocketDialer(url, config)
	if err != nil {
		return nil, fmt.Errorf("making a WebSocket transport: %w", err)
	}
	return dialContext(ctx, portforward.NewFallbackDialer(overWebSocket, overSPDY, isUpgradeFailure))
}

// isUpgradeFailure reports an answer of a server, or of a proxy before it, that
// does not speak WebSocket. The two transports have error types of their own.
func isUpgradeFailure(err error) bool {
	return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) ||
		streamhttp.IsUpgradeFailure(err) || streamhttp.IsHTTPSProxyError(err)
}

// dialContext is dialer.Dial with a context: a connection that comes too late
// is closed.
func dialContext(ctx context.Context, dialer httpstream.Dialer) (httpstream.Connection, error) {
	type result struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, protocol, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		if err == nil && protocol != portforward.PortForwardProtocolV1Name {
			conn.Close()
			conn, err = nil, fmt.Errorf("negotiating a protocol: the server offers %q, want %q", protocol, portforward.PortForwardProtocolV1Name)
		}
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				r.conn.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// forwardTransport drops the carrying connection after a request that failed:
// a laptop that slept, or a pod that was replaced, leaves one that looks alive.
type forwardTransport struct {
	f    *Forwarder
	http *http.Transport
}

func (t *forwardTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.http.RoundTrip(r)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.http.CloseIdleConnections()
		t.f.dropCurrent()
	}
	return response, err
}

// Close ends all connections of the Forwarder.
func (t *forwardTransport) Close() error {
	t.http.CloseIdleConnections()
	return t.f.Close()
}
