package proxy

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/formicarium/formicarium/netra/trace"
)

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
	window
	link     *link
	from, to *end
	protocol protocol
	bytes    *atomic.Uint64
	out      []byte // edited bytes, to be written before window.buf[done:]
	outPool  *[]byte
	rest     []byte // what the receiver had no room for; nothing is read before it is gone
	restPool *[smallWindow]byte
	down     bool // from the server to the client
	sink     bool // the receiver is gone, read and forget
	ended    bool // the sender's stream has ended
	passed   bool // and that was passed on
	queued   bool // in loop.again
	waiting  bool // for another upstream (route.go); nothing is read before it is there
}

// readsPerTurn bounds how much one half moves before others have their turn:
// some 512 KiB.
const readsPerTurn = 16

// pump moves bytes until there are none, the receiver has no room, or either
// end is gone.
func (h *half) pump() {
	if len(h.rest) > 0 {
		// Meanwhile the protocol may have let go of what it held.
		if !h.flushRest() || !h.forward() || len(h.rest) > 0 {
			return
		}
	}
	if h.waiting {
		h.wait()
		return
	}
	for turns := 0; h.from.readable && !h.ended && !h.waiting && h.link.phase == relaying; turns++ {
		if turns == readsPerTurn {
			h.later()
			return
		}
		room := h.room(h.link.loop.scratch)
		n, err := readSocket(h.from.fd, room)
		switch {
		case err == syscall.EAGAIN:
			h.from.readable = false
			h.keep()
			return
		case err != nil:
			h.failed(err)
			return
		case n == 0:
			h.end()
			return
		}
		h.w += n
		// A short read has taken all there was; what comes later is told,
		// except for an end that was told before.
		if n < len(room) && !h.from.hung {
			h.from.readable = false
		}
		if !h.forward() || len(h.rest) > 0 {
			return
		}
	}
}

// later lets the half go on when others have had their turn.
func (h *half) later() {
	if !h.queued {
		h.queued = true
		h.link.loop.again = append(h.link.loop.again, h)
	}
}

// look is called after later. The protocol may have changed its mind about what
// it holds.
func (h *half) look() {
	if h.link.phase == relaying && len(h.rest) == 0 && h.forward() && !h.waiting {
		h.pump()
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
	return h.link.phase == relaying && h.flush(upTo)
}

// copyLimit is the length up to which bytes are copied behind edited ones, so
// that they are one write.
const copyLimit = 16 << 10

// flush writes the edited bytes and those of the window before upTo.
func (h *half) flush(upTo int) bool {
	rest := h.buf[h.done:upTo]
	h.done = upTo
	ok := true
	if len(h.out) > 0 && len(rest) <= copyLimit {
		h.out = append(h.out, rest...)
		rest = nil
	}
	if len(h.out) > 0 {
		ok = h.write(h.out)
	}
	h.freeOut()
	if ok && len(rest) > 0 {
		ok = h.write(rest)
	}
	h.keep()
	return ok
}

// write writes p, or keeps what there is no room for. It reports false where
// the link is at its end.
func (h *half) write(p []byte) bool {
	if len(p) == 0 || h.sink {
		return true
	}
	if len(h.rest) > 0 {
		h.rest = append(h.rest, p...)
		return true
	}
	n, err := writeSocket(h.to.fd, p)
	h.bytes.Add(uint64(n))
	switch {
	case err == nil && n == len(p):
		return true
	case err == nil, err == syscall.EAGAIN:
		h.to.writable = false
		h.restPool = rests.Get().(*[smallWindow]byte)
		h.rest = append(h.restPool[:0], p[n:]...)
		return true
	case h.down: // nobody is left to answer
		h.link.abort(trace.ReasonClientReset)
		return false
	}
	// The server is gone, but what it said before may still be on its way to
	// the client: read on, so that the client can get to read it.
	h.sink = true
	return !h.link.serverGone()
}

var rests = sync.Pool{New: func() any { return new([smallWindow]byte) }}

// flushRest writes what the receiver had no room for and reports whether all of
// it is gone and the link lives.
func (h *half) flushRest() bool {
	if len(h.rest) == 0 || h.to.fd < 0 {
		return true
	}
	p := h.rest
	n, err := writeSocket(h.to.fd, p)
	h.bytes.Add(uint64(n))
	if (err == nil || err == syscall.EAGAIN) && n < len(p) {
		h.to.writable = false
		h.rest = p[n:]
		return false
	}
	h.freeRest()
	if err != nil {
		if h.down {
			h.link.abort(trace.ReasonClientReset)
			return false
		}
		h.sink = true
		if h.link.serverGone() {
			return false
		}
	}
	if h.ended && h.link.phase == relaying {
		h.pass()
		return false
	}
	return true
}

// end is called at the end of the sender's stream.
func (h *half) end() {
	if h.down && h.link.router.lose() {
		h.window.release()
		return
	}
	h.ended = true
	if h.r < h.w && !h.flush(h.w) {
		return
	}
	h.window.release()
	if h.down {
		h.link.ended()
	}
	if len(h.rest) == 0 && h.link.phase == relaying {
		h.pass()
	}
}

// pass passes the end of the stream on, everything before it being written.
func (h *half) pass() {
	h.protocol.over()
	endStream(h.to.fd)
	if !h.down {
		h.link.router.clear() // no request follows
	}
	h.passed = true
	h.link.halfDone()
}

// failed passes a broken connection on as a reset.
func (h *half) failed(err error) {
	if h.down && h.link.router.lose() {
		h.window.release()
		return
	}
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

// release gives all buffers back.
func (h *half) release() {
	h.window.release()
	h.freeOut()
	h.freeRest()
}

func (h *half) freeRest() {
	if h.restPool != nil {
		rests.Put(h.restPool)
	}
	h.rest, h.restPool = nil, nil
}
