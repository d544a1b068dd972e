package smarthttp

import (
	"io"
	"net/http"
	"time"
)

// answer writes a successful answer, whose head is sent with the first byte:
// so a git that fails before it says anything still becomes an error status.
type answer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	kind    string // content type
	prefix  string // sent before all else
	body    *body
	begun   bool
}

func (x *exchange) answer(kind string) *answer {
	return &answer{w: x.w, control: http.NewResponseController(x.w), kind: kind, body: x.body}
}

func (a *answer) begin() error {
	if a.begun {
		return nil
	}
	a.begun = true
	header := a.w.Header()
	header.Set("Content-Type", a.kind)
	header.Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	a.w.WriteHeader(http.StatusOK)
	_, err := io.WriteString(a.w, a.prefix)
	return err
}

// Write sends p at once: what git says in one write, its user may be waiting
// for. Once the request has broken off it sends nothing: what git then says is
// about an input that ended too early, which is not the cause.
func (a *answer) Write(p []byte) (int, error) {
	if a.body.err() != nil {
		return len(p), nil
	}
	_ = a.control.SetWriteDeadline(time.Now().Add(idleTimeout))
	if err := a.begin(); err != nil {
		return 0, err
	}
	n, err := a.w.Write(p)
	if err == nil {
		err = a.control.Flush()
	}
	return n, err
}

// holdFlush passes a stream of pkt-lines on to w as it comes, but for a
// flush-pkt at its very end, which it keeps.
type holdFlush struct {
	w      io.Writer
	digits [4]byte
	have   int  // of digits
	left   int  // bytes of the current packet that are still to come
	held   bool // a flush-pkt that may be the last
	blind  bool // the stream is not of pkt-lines: all is passed on
}

func (f *holdFlush) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+2*len(flushPacket))
	for rest := p; len(rest) > 0; {
		if f.held {
			out = append(out, flushPacket...)
			f.held = false
		}
		if f.blind {
			out = append(out, rest...)
			break
		}
		if f.left > 0 {
			n := min(f.left, len(rest))
			out = append(out, rest[:n]...)
			rest = rest[n:]
			f.left -= n
			continue
		}
		n := copy(f.digits[f.have:], rest)
		f.have += n
		rest = rest[n:]
		if f.have < len(f.digits) {
			continue
		}
		f.have = 0
		switch length := packetLength(f.digits[:]); {
		case length == 0:
			f.held = true
			continue
		case length < 0:
			f.blind = true
		default:
			f.left = max(0, length-4)
		}
		out = append(out, f.digits[:]...)
	}
	if len(out) == 0 {
		return len(p), nil
	}
	if _, err := f.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end passes on what is left but for the flush-pkt, and reports whether that
// was there.
func (f *holdFlush) end() (flush bool, err error) {
	if f.have > 0 {
		_, err = f.w.Write(f.digits[:f.have])
	}
	return f.held, err
}
