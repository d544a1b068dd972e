package proxy

import (
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/formicarium/formicarium/netra/proxy/http1"
)

// Sizes of windows. A small one is what one read takes; a large one also has
// room for the longest head.
const (
	smallWindow = 32 << 10
	largeWindow = http1.MaxHead + smallWindow
)

var (
	smallWindows = sync.Pool{New: func() any { return new([smallWindow]byte) }}
	largeWindows = sync.Pool{New: func() any { return new([largeWindow]byte) }}
)

// window holds bytes on their way: buf[r:w] are unread by the protocol, those
// before done are written to the other end. It has a buffer only while there is
// something in it, so an idle connection costs none.
type window struct {
	buf        []byte
	r, w, done int
}

func (v *window) unread() []byte { return v.buf[v.r:v.w] }

// room makes room to read into.
func (v *window) room() []byte {
	switch {
	case v.buf == nil:
		v.buf = smallWindows.Get().(*[smallWindow]byte)[:]
	case v.w < len(v.buf):
	case v.r > 0:
		n := copy(v.buf, v.buf[v.r:v.w])
		v.done -= v.r
		v.r, v.w = 0, n
	default: // one head fills the window
		large := largeWindows.Get().(*[largeWindow]byte)[:]
		copy(large, v.buf[:v.w])
		v.free()
		v.buf = large
	}
	return v.buf[v.w:]
}

// settle gives the buffer back if there is nothing unread.
func (v *window) settle() {
	if v.r == v.w && v.buf != nil {
		v.free()
		v.r, v.w, v.done = 0, 0, 0
	}
}

func (v *window) free() {
	switch len(v.buf) {
	case smallWindow:
		smallWindows.Put((*[smallWindow]byte)(v.buf))
	case largeWindow:
		largeWindows.Put((*[largeWindow]byte)(v.buf))
	}
	v.buf = nil
}

// reader reads a connection into a window that has a buffer only once there is
// something to read.
type reader struct {
	window
	raw syscall.RawConn
	try func(fd uintptr) bool // attempt, bound once
	err error
}

func newReader(conn *net.TCPConn) (*reader, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &reader{raw: raw}
	r.try = r.attempt
	return r, nil
}

// read waits for bytes and adds them to the window. It returns io.EOF at the
// end of the stream.
func (r *reader) read() error {
	r.err = nil
	if err := r.raw.Read(r.try); err != nil {
		return err
	}
	return r.err
}

// attempt reads once and reports whether there was anything, an end or an error
// included; else it is called again when there is.
func (r *reader) attempt(fd uintptr) bool {
	room := r.room()
	for {
		n, err := unix.Read(int(fd), room)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			r.settle()
			return false
		case err != nil:
			r.err = err
		case n == 0:
			r.err = io.EOF
		default:
			r.w += n
		}
		return true
	}
}
