package proxy

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/proxy/http1"
	"github.com/formicarium/formicarium/netra/trace"
)

// link is one proxied connection: a client's, accepted, and one to the server
// that the client meant.
type link struct {
	proxy       *Proxy
	direction   trace.Direction
	side        *metrics.Side
	client      *net.TCPConn
	server      *net.TCPConn
	destination netip.AddrPort
	http        *exchange // nil where HTTP is not looked for

	mu         sync.Mutex
	aborted    bool
	downEnded  bool // the server's stream has ended
	serverDead bool // writing to the server failed
}

// protocol looks at what one end sends. It moves the window's r beyond what it
// has understood.
type protocol interface {
	// digest looks at the unread bytes, and may put edited copies of them into
	// h.out. With hold, what remains unread is not written yet.
	digest(h *half) (hold bool)
	// over says that the end has sent its last byte, all of it being written.
	over()
}

// half is one direction of a link.
type half struct {
	*reader
	link     *link
	protocol protocol
	to       *net.TCPConn
	bytes    *atomic.Uint64
	out      []byte // edited bytes, to be written before window.buf[done:]
	outPool  *[]byte
	down     bool // from the server to the client
	sink     bool // the receiver is gone, read and forget
}

// run proxies until both directions have ended.
func (l *link) run(server *net.TCPConn, destination netip.AddrPort) {
	l.mu.Lock()
	l.server, l.destination = server, destination
	if l.proxy.follows(destination.Port()) {
		l.http = &exchange{link: l}
	}
	aborted := l.aborted
	l.mu.Unlock()
	defer l.client.Close()
	defer server.Close()
	if aborted { // between dialling and here
		return
	}
	up, errUp := l.half(l.client, server, &l.side.RequestBytes)
	down, errDown := l.half(server, l.client, &l.side.ResponseBytes)
	if errUp != nil || errDown != nil { // closed by now
		return
	}
	down.down = true
	up.protocol, down.protocol = l.protocols()
	var both sync.WaitGroup
	both.Go(func() {
		defer l.contain()
		down.pump()
	})
	func() {
		defer l.contain()
		up.pump()
	}()
	both.Wait()
	if l.http != nil {
		l.http.close(trace.ReasonClosed)
	}
}

func (l *link) half(from, to *net.TCPConn, bytes *atomic.Uint64) (*half, error) {
	r, err := newReader(from)
	return &half{reader: r, link: l, to: to, bytes: bytes}, err
}

// protocols chooses what looks at the two directions.
func (l *link) protocols() (up, down protocol) {
	if l.http == nil {
		return opaque{l}, opaque{}
	}
	return &requests{exchange: l.http, framer: http1.NewFramer(http1.Request)},
		&responses{exchange: l.http, framer: http1.NewFramer(http1.Response)}
}

// opaque copies; from a client to the application it tells the tracer that
// there is something it cannot see.
type opaque struct{ fromClient *link }

func (o opaque) digest(h *half) bool {
	h.r = h.w
	if o.fromClient != nil {
		o.fromClient.unseen()
	}
	return false
}

func (opaque) over() {}

func (l *link) unseen() {
	if l.direction == trace.Inbound {
		l.proxy.tracer.Unseen()
	}
}

// pump moves bytes until the sender's stream ends or either end is gone.
func (h *half) pump() {
	defer h.window.free()
	for {
		err := h.read()
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded): // woken to look again at what is held
			h.link.client.SetReadDeadline(time.Time{})
		case err == io.EOF:
			h.end()
			return
		default:
			h.failed(err)
			return
		}
		if !h.forward() {
			return
		}
	}
}

// forward lets the protocol look at the window and writes what may go.
func (h *half) forward() bool {
	if h.r == h.w {
		return true
	}
	upTo := h.w
	if h.protocol.digest(h) {
		upTo = max(h.r, h.done)
	}
	return h.flush(upTo)
}

// flush writes the edited bytes and those of the window before upTo.
func (h *half) flush(upTo int) bool {
	rest := h.buf[h.done:upTo]
	h.done = upTo
	if len(h.out) > 0 {
		h.out = append(h.out, rest...)
		rest = h.out
	}
	ok := h.write(rest)
	h.freeOut()
	h.settle()
	return ok
}

func (h *half) write(p []byte) bool {
	if len(p) == 0 || h.sink {
		return true
	}
	n, err := h.to.Write(p)
	h.bytes.Add(uint64(n))
	if err == nil {
		return true
	}
	if h.down { // nobody is left to answer
		h.link.abort(trace.ReasonClientReset)
		return false
	}
	// The server is gone, but what it said before may still be on its way to
	// the client: read on, so that the client can get to read it.
	h.sink = true
	return !h.link.serverGone()
}

// end passes the end of the sender's stream on.
func (h *half) end() {
	if h.r < h.w && !h.flush(h.w) {
		return
	}
	h.protocol.over()
	if h.down {
		h.link.ended()
	}
	h.to.CloseWrite()
}

// failed passes a broken connection on as a reset.
func (h *half) failed(err error) {
	reason := trace.ReasonClientReset
	switch {
	case !h.down:
	case errors.Is(err, syscall.ETIMEDOUT):
		reason = trace.ReasonTimeout
	default:
		reason = trace.ReasonReset
	}
	h.link.abort(reason)
}

// ended notes that the server's stream has ended. Where the server does not
// take what the client sends either, it is gone altogether.
func (l *link) ended() {
	l.mu.Lock()
	l.downEnded = true
	dead := l.serverDead
	l.mu.Unlock()
	if dead {
		l.abort(trace.ReasonReset)
	}
}

// serverGone notes that the server does not take what the client sends, and
// reports whether its stream has ended, too.
func (l *link) serverGone() bool {
	l.mu.Lock()
	l.serverDead = true
	ended := l.downEnded
	l.mu.Unlock()
	if ended {
		l.abort(trace.ReasonReset)
	}
	return ended
}

// abort resets both connections, which ends both halves, and finishes the
// requests in flight for this reason.
func (l *link) abort(reason string) {
	l.mu.Lock()
	first := !l.aborted
	l.aborted = true
	server, http := l.server, l.http
	l.mu.Unlock()
	if !first {
		return
	}
	if http != nil {
		http.close(reason)
	}
	// What was written before is to arrive before the reset does.
	if reason == trace.ReasonReset || reason == trace.ReasonTimeout {
		drained(l.client)
	}
	reset(l.client)
	if server != nil {
		reset(server)
	}
}

// wake makes the half that reads from the client look at its window again.
func (l *link) wake() { l.client.SetReadDeadline(time.Unix(1, 0)) }

// reset closes a connection with a reset.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// drainLimit is how long drained waits for a slow receiver.
const drainLimit = time.Second

// drained waits until the other end has received everything that was written,
// for a reset throws away what is still to be sent.
func drained(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	deadline := time.Now().Add(drainLimit)
	for pause := time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, 50*time.Millisecond) {
		unsent := 0
		err := raw.Control(func(fd uintptr) { unsent = unsentBytes(int(fd)) })
		if err != nil || unsent == 0 {
			return
		}
		time.Sleep(pause)
	}
}
