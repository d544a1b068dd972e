package devspace

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
)

// Everything that ends a connection says so on it, and that blocks for as long
// as the kernel takes a dead one for slow: a quarter of an hour. So nobody waits
// for it.

// hangUp ends the connection that carries the others. A polite end has a moment
// to be sent before the process may go.
func (c *carrier) hangUp() {
	done := make(chan struct{})
	go func() {
		c.Close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(hangUpWait):
	}
}

const hangUpWait = 50 * time.Millisecond

// openStream opens a connection on a carrier within connectWithin: one that is
// dead and does not know answers nothing.
func (f *Forwarder) openStream(ctx context.Context, c *carrier, id int) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := openStream(c, id)
		done <- result{conn, err}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, f.connectWithin, errNoWay)
	defer cancel()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the carrier is dropped, and with it what may still come
	}
}

// openStream opens the pair of streams that is one connection to the port: one
// for data, one on which the kubelet says why it failed.
func openStream(c *carrier, id int) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(c.port))
	headers.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(id))
	errorStream, err := c.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	errorStream.Close() // for writing: the error comes the other way
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	dataStream, err := c.CreateStream(headers)
	if err != nil {
		errorStream.Reset()
		c.RemoveStreams(errorStream)
		return nil, err
	}
	conn := &streamConn{carrier: c, data: dataStream, fault: errorStream, faulted: make(chan struct{}), closed: make(chan struct{})}
	go conn.watchFault()
	return conn, nil
}

// streamConn is a net.Conn over a pair of streams. It has no deadlines; its
// user is net/http, which closes a connection to interrupt it.
type streamConn struct {
	carrier *carrier
	data    httpstream.Stream
	fault   httpstream.Stream
	once    sync.Once
	closed  chan struct{} // by Close

	faulted chan struct{} // closed when faultErr is final
	faultMu sync.Mutex
	message error
}

// faultLimit bounds what is read of the kubelet's message, which is a line.
const faultLimit = 4096

func (c *streamConn) watchFault() {
	defer close(c.faulted)
	text, _ := io.ReadAll(io.LimitReader(c.fault, faultLimit))
	if len(text) == 0 {
		return
	}
	c.faultMu.Lock()
	c.message = fmt.Errorf("forwarding to port %d of pod %s: %s", c.carrier.port, c.carrier.pod, strings.TrimSpace(string(text)))
	c.faultMu.Unlock()
	c.data.Reset() // else a reader would wait for data that never comes
}

// explain replaces a bare end of the stream by the kubelet's reason for it.
func (c *streamConn) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-c.faulted:
	case <-time.After(faultWait):
	}
	c.faultMu.Lock()
	defer c.faultMu.Unlock()
	if c.message != nil {
		return c.message
	}
	return err
}

// faultWait is how long the end of the data waits for its reason, which comes
// on another stream of the same connection and so at about the same time.
const faultWait = 50 * time.Millisecond

func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.data.Read(p)
	return n, c.explain(err)
}

func (c *streamConn) Write(p []byte) (int, error) {
	// net/http waits for a write that it has interrupted, so Close must end it
	// even while the stream's own is held up; that keeps a copy.
	buffer := append([]byte(nil), p...)
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := c.data.Write(buffer)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, c.explain(r.err)
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *streamConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		done := make(chan struct{})
		go func() {
			c.data.Close()
			c.data.Reset()
			c.fault.Reset()
			c.carrier.RemoveStreams(c.data, c.fault)
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(hangUpWait):
			go c.data.Reset() // ends a reader before it says so to the other side
		}
	})
	return nil
}

func (c *streamConn) LocalAddr() net.Addr { return podAddr("kubectl-fmc") }
func (c *streamConn) RemoteAddr() net.Addr {
	return podAddr(fmt.Sprintf("%s:%d", c.carrier.pod, c.carrier.port))
}

func (c *streamConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *streamConn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *streamConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

type podAddr string

func (podAddr) Network() string  { return "pod" }
func (a podAddr) String() string { return string(a) }
