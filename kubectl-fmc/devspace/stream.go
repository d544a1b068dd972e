package devspace

import (
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
	conn := &streamConn{carrier: c, data: dataStream, fault: errorStream, faulted: make(chan struct{})}
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
	n, err := c.data.Write(p)
	return n, c.explain(err)
}

func (c *streamConn) Close() error {
	c.once.Do(func() {
		c.data.Close()
		c.data.Reset()
		c.fault.Reset()
		c.carrier.RemoveStreams(c.data, c.fault)
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
