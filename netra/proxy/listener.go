package proxy

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/netra/trace"
)

// listener accepts connections on a loop.
type listener struct {
	loop      *loop
	direction trace.Direction
	file      *os.File // nil when closed
	fd        int
	pause     time.Duration
	waiting   bool // for the pause to be over
}

// newListener takes over a listening socket; l itself is closed.
func newListener(on *loop, l net.Listener, direction trace.Direction) (*listener, error) {
	defer l.Close()
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("serving %s connections: %T is not a TCP listener", direction, l)
	}
	file, err := tcp.File()
	if err != nil {
		return nil, fmt.Errorf("serving %s connections: %w", direction, err)
	}
	a := &listener{loop: on, direction: direction, file: file, fd: int(file.Fd()), pause: firstPause}
	if err := syscall.SetNonblock(a.fd, true); err != nil { // Fd has made it a blocking one
		file.Close()
		return nil, fmt.Errorf("serving %s connections: %w", direction, err)
	}
	return a, nil
}

func (a *listener) start() {
	if err := a.loop.register(a.fd, a); err != nil {
		a.loop.proxy.settings.Logger.Error("serving", "direction", a.direction, "error", err)
		return
	}
	a.ready(0) // what came before
}

// fault implements source: the connection that was being accepted is lost, and
// others wait behind it.
func (a *listener) fault() { a.loop.post(a, func() { a.ready(0) }) }

// Pauses after a failure to accept. The common one is that no descriptor is
// left, which ends when a connection does.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// ready implements source: it accepts all that wait.
func (a *listener) ready(uint32) {
	p := a.loop.proxy
	for a.file != nil && !a.waiting {
		if p.open.Load() >= p.maxOpen {
			a.rest(fmt.Errorf("%d connections are open, all that there are descriptors for", p.maxOpen))
			return
		}
		fd, from, err := p.accept(a.fd)
		switch err {
		case nil:
			a.pause = firstPause
			p.serve(a.loop, fd, from, a.direction)
		case syscall.EAGAIN:
			return
		case syscall.EINTR, syscall.ECONNABORTED: // this one is gone, the next may not be
		default:
			a.rest(err)
			return
		}
	}
}

// rest goes on accepting after a pause.
func (a *listener) rest(why error) {
	p := a.loop.proxy
	p.metrics.AcceptError.Add(1)
	p.settings.Logger.Warn("accepting a connection", "direction", a.direction, "error", why, "pause", a.pause)
	a.waiting = true
	a.loop.after(a.pause, a, func() {
		a.waiting = false
		a.ready(0)
	})
	a.pause = min(2*a.pause, lastPause)
}

func (a *listener) close() {
	if a.file != nil {
		a.loop.forget(a.fd)
		a.file.Close()
		a.file = nil
	}
}
