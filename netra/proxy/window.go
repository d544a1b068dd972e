package proxy

import (
	"sync"

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
// before done are written to the other end. It has a buffer of its own only
// while something unread is kept from one read to the next, so an idle
// connection costs none.
type window struct {
	buf        []byte
	lent       bool // buf is the scratch that room was given
	r, w, done int
}

func (v *window) unread() []byte { return v.buf[v.r:v.w] }

// room makes room to read into: in scratch where the window is empty, which is
// lent until the next keep.
func (v *window) room(scratch []byte) []byte {
	switch {
	case v.buf == nil:
		v.buf, v.lent = scratch, true
	case v.w < len(v.buf):
	case v.r > 0:
		n := copy(v.buf, v.buf[v.r:v.w])
		v.done -= v.r
		v.r, v.w = 0, n
	default: // one head fills the window
		v.move(largeWindows.Get().(*[largeWindow]byte)[:])
	}
	return v.buf[v.w:]
}

// keep takes what is unread out of a lent buffer, and gives the buffer back
// where there is nothing.
func (v *window) keep() {
	switch {
	case v.buf == nil:
	case v.r == v.w:
		v.release()
	case v.lent:
		v.move(smallWindows.Get().(*[smallWindow]byte)[:])
	}
}

// move takes what is unread to another buffer.
func (v *window) move(to []byte) {
	from := *v
	v.buf, v.lent = to, false
	v.r, v.w, v.done = 0, copy(to, from.unread()), from.done-from.r
	from.release()
}

// release forgets everything.
func (v *window) release() {
	if !v.lent {
		switch len(v.buf) {
		case smallWindow:
			smallWindows.Put((*[smallWindow]byte)(v.buf))
		case largeWindow:
			largeWindows.Put((*[largeWindow]byte)(v.buf))
		}
	}
	*v = window{}
}
