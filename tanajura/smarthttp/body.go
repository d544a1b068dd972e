package smarthttp

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxNegotiation bounds a request to fetch: 32 MiB is 600,000 lines of
	// "have" and "want", and git sends a few hundred.
	maxNegotiation = 32 << 20
	// idleTimeout is how long a client may send nothing in mid-request, or take
	// nothing of an answer: longer than any pause of a working network, short
	// enough for a stopped client not to hold a git process for ever.
	idleTimeout = 2 * time.Minute
	// minProgress is how many bytes a request must bring in each idleTimeout: a
	// client that sends one byte a minute would hold a git process, and with a
	// dozen of them its repository. The slowest modem sent twenty times as much.
	minProgress = 16 << 10
)

var (
	errMalformed    = errors.New("want four hex digits, the length of a pkt-line")
	errManyCommands = &statusError{http.StatusRequestEntityTooLarge,
		fmt.Sprintf("the push's list of refs is longer than %d bytes: push fewer refs at once", maxCommands)}
)

// drainTime is how long the rest of a request is read and dropped when its
// answer is complete: a client that is still sending would not see the answer
// if the connection were closed on it at once.
const drainTime = 5 * time.Second

// body reads a request's body: unpacked where it is packed, counted against a
// limit, and never waiting for longer than idleTimeout.
type body struct {
	raw     io.Reader // as it is on the wire
	reader  io.Reader
	control *http.ResponseController
	limit   int64
	what    string
	count   int64
	pace    pace
	room    func(bytes int) error // asked for what has come; may be nil
	fault   atomic.Pointer[error] // that ended it, but for io.EOF
}

// openBody opens the request's body; what names it in the error of a body that
// has more than limit bytes.
func (x *exchange) openBody(limit int64, what string) error {
	b := &body{raw: x.r.Body, reader: x.r.Body, control: http.NewResponseController(x.w), limit: limit, what: what}
	if x.r.ContentLength > limit {
		return b.tooLarge()
	}
	encoding := x.r.Header.Get("Content-Encoding")
	switch encoding {
	case "", "identity", "gzip", "x-gzip":
	default:
		return &statusError{http.StatusUnsupportedMediaType, fmt.Sprintf("content encoding %.20q: want gzip or none", encoding)}
	}
	// git's progress flows while the pack is still on its way. Without this,
	// the first byte of the answer would end the request.
	if err := b.control.EnableFullDuplex(); err != nil {
		return fmt.Errorf("answering while the request is read: %w", err)
	}
	x.body = b
	if strings.HasSuffix(encoding, "gzip") {
		unpacked, err := gzip.NewReader(x.r.Body)
		if err != nil {
			return &statusError{http.StatusBadRequest, "the body is not gzip, which its Content-Encoding says"}
		}
		b.reader = unpacked
	}
	return nil
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.err(); err != nil {
		return 0, err
	}
	if b.count >= b.limit {
		// One byte more tells a body of just the limit from a longer one.
		p = p[:min(len(p), 1)]
	}
	start := time.Now()
	_ = b.control.SetReadDeadline(start.Add(b.pace.left()))
	n, err := b.reader.Read(p)
	b.pace.note(n, time.Since(start))
	b.count += int64(n)
	if err != nil {
		// The server goes on reading, to notice a client that goes away; that
		// may take as long as it likes.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	if b.count > b.limit {
		n, err = 0, b.tooLarge()
	}
	if b.room != nil && n > 0 {
		if full := b.room(n); full != nil {
			n, err = 0, &statusError{http.StatusRequestEntityTooLarge, full.Error()}
		}
	}
	if err != nil && err != io.EOF {
		b.fault.Store(&err)
	}
	return n, err
}

// pace measures a client's progress by the time that it is waited for: while git
// is busy, nobody asks the client for more.
type pace struct {
	waited time.Duration
	bytes  int
}

// left returns how much longer the client may be waited for.
func (p *pace) left() time.Duration { return idleTimeout - p.waited }

// note takes note of bytes that came after a wait.
func (p *pace) note(bytes int, waited time.Duration) {
	p.bytes += bytes
	p.waited += waited
	if p.bytes >= minProgress {
		*p = pace{}
	}
}

// err returns what ended the body before its end. Unlike the other methods it
// may be used while the body is read.
func (b *body) err() error {
	if b == nil {
		return nil
	}
	if err := b.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// finish reads the rest of the request, so that the client sees the answer and
// the connection can serve another request, and breaks the connection where
// the client does not come to an end.
// The server would do the former itself, but after EnableFullDuplex it reads
// the rest when it has begun to wait for the next request already, and panics.
func (b *body) finish() {
	if b == nil {
		return
	}
	_ = b.control.Flush()
	_ = b.control.SetReadDeadline(time.Now().Add(drainTime))
	if _, err := io.Copy(io.Discard, b.raw); err != nil {
		panic(http.ErrAbortHandler) // net/http's way to close the connection
	}
	_ = b.control.SetReadDeadline(time.Time{})
}

func (b *body) tooLarge() error {
	return &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("%s may have at most %d bytes", b.what, b.limit)}
}
