package devspace

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// road is the network between the laptop and the API server. What is on a
// connection while it is a black hole never arrives, nor does any word of that:
// as when a laptop slept, or a VPN changed.
type road struct {
	net.Listener
	to string

	mu    sync.Mutex
	hole  chan struct{} // open while new connections are swallowed; nil where they are not
	conns []*lane
}

// lane is one connection.
type lane struct {
	net.Conn
	swallow chan struct{} // closed: nothing passes any more
	end     chan struct{}
	once    sync.Once
}

func newRoad(t *testing.T, to string) *road {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &road{Listener: l, to: to}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { r.carry(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.cut()
		wait.Wait()
	})
	return r
}

func (r *road) carry(conn net.Conn) {
	defer conn.Close()
	a := &lane{Conn: conn, swallow: make(chan struct{}), end: make(chan struct{})}
	r.mu.Lock()
	if r.hole != nil {
		close(a.swallow)
	}
	r.conns = append(r.conns, a)
	r.mu.Unlock()
	select {
	case <-a.swallow: // it is accepted, and that is all
		<-a.end
		return
	default:
	}
	far, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer far.Close()
	go a.copy(far, conn)
	go a.copy(conn, far)
	<-a.end
}

func (a *lane) copy(to io.Writer, from io.Reader) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		select {
		case <-a.swallow:
			<-a.end // nothing is read any more: the sender's buffers fill
			return
		default:
		}
		if _, werr := to.Write(buffer[:n]); werr != nil || err != nil {
			a.once.Do(func() { close(a.end) })
			return
		}
	}
}

// swallow makes a black hole of all connections there are, and of new ones
// until open.
func (r *road) swallow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hole = make(chan struct{})
	for _, a := range r.conns {
		select {
		case <-a.swallow:
		default:
			close(a.swallow)
		}
	}
}

// open lets new connections through; old ones stay what they are.
func (r *road) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hole = nil
}

// cut ends all connections.
func (r *road) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.conns {
		a.once.Do(func() { close(a.end) })
	}
	r.conns = nil
}

// TestForwarderOutOfABlackHole: a request whose connection has become a black
// hole ends with its context, however much of it is under way, and the next
// one goes on a connection of its own as soon as there can be one.
func TestForwarderOutOfABlackHole(t *testing.T) {
	for _, size := range []int{10, 20 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			server := newPortForwardServer(t, echo(t))
			r := newRoad(t, strings.TrimPrefix(server.URL, "http://"))
			f := NewForwarder(&rest.Config{Host: "http://" + r.Addr().String()}, "mine", FixedPod("tanajura-1", 3002))
			f.connectWithin = 300 * time.Millisecond
			client := &http.Client{Transport: f.Transport()}
			defer f.Close()
			if _, err := post(client, "/a", "1"); err != nil {
				t.Fatal(err)
			}
			r.swallow()
			for i := range 3 { // the first is on the old connection, the others want a new one
				within(t, fmt.Sprintf("request %d", i), func() {
					if err := postWithin(t, client, size, 500*time.Millisecond); err == nil {
						t.Error("a request passed through a black hole")
					}
				})
			}
			r.open()
			eventually(t, "an answer on a new connection", func() bool {
				return postWithin(t, client, 10, 5*time.Second) == nil
			})
			within(t, "Close", func() { f.Close() })
		})
	}
}

func postWithin(t *testing.T, client *http.Client, size int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://any/", strings.NewReader(strings.Repeat("x", size)))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// within fails where do does not end.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { do(); close(done) }()
	select {
	case <-done:
	case <-time.After(ample):
		t.Fatalf("%s did not end", what)
	}
}
