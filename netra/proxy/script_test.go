package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/formicarium/formicarium/netra/proxy/http1"
)

// script is what two ends do with a connection. Every turn waits until the bytes
// of the one before have arrived, as far as they must; so what the ends receive
// does not depend on who is faster.
type script struct {
	client, server []byte
	cuts           []byte // turns: whose it is, the lowest bit, and a length
	ending         ending
}

// ending is how a script's connection ends.
type ending uint8

const (
	clientEndsFirst ending = iota
	serverEndsFirst
	clientResets // after the server's end
	serverResets // after the client's end
	endings
)

// wholeCut is the cut that stands for all that an end has left to send.
const wholeCut = 127

// received is what one end got.
type received struct {
	mu    sync.Mutex
	more  *sync.Cond
	bytes []byte
	end   string // empty as long as there is none
}

func collect(conn net.Conn) *received {
	r := &received{}
	r.more = sync.NewCond(&r.mu)
	go func() {
		buf := make([]byte, 32<<10)
		for {
			n, err := conn.Read(buf)
			r.mu.Lock()
			r.bytes = append(r.bytes, buf[:n]...)
			switch {
			case err == nil:
			case errors.Is(err, io.EOF):
				r.end = "end"
			case errors.Is(err, syscall.ECONNRESET):
				r.end = "reset"
			default:
				r.end = err.Error() // the deadline's, or that of the test's own Close
			}
			r.more.Broadcast()
			r.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return r
}

// wait waits until enough has come, or the stream's end.
func (r *received) wait(enough func([]byte) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !enough(r.bytes) && r.end == "" {
		r.more.Wait()
	}
	return enough(r.bytes)
}

func (r *received) waitEnd(want string) error {
	r.wait(func([]byte) bool { return false })
	if r.end != want {
		return fmt.Errorf("the stream ended with %q, want %q, after %.200q", r.end, want, r.bytes)
	}
	return nil
}

// play has the ends of a connection follow the script.
func (s script) play(t testing.TB, client, server *net.TCPConn) (atClient, atServer *received, err error) {
	defer client.Close()
	defer server.Close()
	atClient, atServer = collect(client), collect(server)
	up, down := s.client, s.server
	say := func(down bool, rest *[]byte, n int) error {
		conn, at, to, name := client, atServer, s.client, "client"
		if down {
			conn, at, to, name = server, atClient, s.server, "server"
		}
		n = min(n, len(*rest))
		if _, err := conn.Write((*rest)[:n]); err != nil {
			return fmt.Errorf("the %s cannot send: %w", name, err)
		}
		*rest = (*rest)[n:]
		sent := to[:len(to)-len(*rest)]
		if !at.wait(arrived(sent, down)) {
			return fmt.Errorf("of the %s's %d bytes %d arrived, then %q", name, len(sent), len(at.bytes), at.end)
		}
		return nil
	}
	for _, c := range s.cuts {
		rest, n := &up, 1+int(c>>1)
		if c&1 != 0 {
			rest = &down
		}
		if n > wholeCut {
			n = len(*rest)
		}
		if err := say(c&1 != 0, rest, n); err != nil {
			return atClient, atServer, err
		}
	}
	// One end says all that it has and ends its stream, then the other does.
	first, second := client, server
	if s.ending == serverEndsFirst || s.ending == clientResets {
		first, second = server, client
	}
	rest := func(conn *net.TCPConn) error {
		if conn == client {
			return say(false, &up, len(up))
		}
		return say(true, &down, len(down))
	}
	at := map[*net.TCPConn]*received{client: atClient, server: atServer}
	if err := rest(first); err != nil {
		return atClient, atServer, err
	}
	first.CloseWrite()
	if err := errors.Join(at[second].waitEnd("end"), rest(second)); err != nil {
		return atClient, atServer, err
	}
	if s.ending == clientEndsFirst || s.ending == serverEndsFirst {
		second.CloseWrite()
		return atClient, atServer, at[first].waitEnd("end")
	}
	drained(t, second)
	reset(second)
	return atClient, atServer, at[first].waitEnd("reset")
}

// arrived returns whether what an end got has all that must have come of what
// the other sent. A client's head may be held until it is complete.
func arrived(sent []byte, down bool) func([]byte) bool {
	if down {
		return func(got []byte) bool { return len(got) >= len(sent) }
	}
	want := len(stripped(sent[:len(sent)-mayBeHeld(sent)]))
	return func(got []byte) bool { return len(got) >= want && len(stripped(got)) >= want }
}

// mayBeHeld returns how many of the last bytes may be held.
func mayBeHeld(sent []byte) int {
	framer := http1.NewFramer(http1.Request)
	for rest := sent; ; {
		piece := framer.Next(rest)
		switch {
		case piece.Kind == http1.Need && framer.Holding():
			return len(rest)
		case piece.Kind == http1.Doubt && framer.Reason == http1.ReasonHTTP2, bytes.Contains(sent, []byte(http2.ClientPreface)):
			return len(sent) // what is written anew may be shorter than what was sent
		case piece.Kind == http1.Need, piece.Kind == http1.Doubt:
			return 0
		}
		rest = rest[piece.N:]
	}
}

// inserted matches the fields that the proxy may insert, and of which it may
// change the value.
var inserted = regexp.MustCompile(`(?i)\r\n(traceparent|uber-trace-id|x-request-id|b3|x-b3-traceid|x-b3-spanid|x-b3-parentspanid|x-b3-sampled|x-b3-flags):[^\r\n]*(\r)`)

func stripped(p []byte) []byte {
	for {
		next := inserted.ReplaceAll(p, []byte("$2"))
		if len(next) == len(p) {
			return next
		}
		p = next
	}
}

// alike says how what came through a proxy differs from what the client sent,
// but for the fields that a proxy inserts.
func (s script) alike(got []byte) error {
	sentHead, sentFrames, framed := bytes.Cut(s.client, []byte(http2.ClientPreface))
	gotHead, gotFrames, _ := bytes.Cut(got, []byte(http2.ClientPreface))
	a, b := stripped(sentHead), stripped(gotHead)
	if s.ending == clientResets { // which may take away what is held, or not waited for
		if !framed {
			a = a[:min(len(a), max(len(b), len(stripped(sentHead[:len(sentHead)-mayBeHeld(sentHead)]))))]
		} else if len(gotFrames) == 0 {
			a = a[:min(len(a), len(b))]
		}
	}
	if !bytes.Equal(a, b) {
		return fmt.Errorf("received %q\nsent     %q", b, a)
	}
	return s.alikeFrames(sentFrames, gotFrames)
}

func (s script) alikeFrames(sent, got []byte) error {
	a, b := frameReader{rest: sent, decoder: newDecoder()}, frameReader{rest: got, decoder: newDecoder()}
	for {
		before, after := a.rest, b.rest
		if len(before)+len(after) == 0 {
			return nil
		}
		x, okX := a.next()
		y, okY := b.next()
		switch {
		case okX && okY && bytes.Equal(stripped([]byte(x)), stripped([]byte(y))):
		case bytes.Equal(before, after):
			// Copied without being understood; the table may be another.
			return nil
		case !okY && s.ending == clientResets:
			return nil
		default:
			return fmt.Errorf("received frame %.300q and then %.100q\nsent     frame %.300q and then %.100q", y, b.rest, x, a.rest)
		}
	}
}

func newDecoder() *hpack.Decoder {
	d := hpack.NewDecoder(4096, nil)
	d.SetAllowedMaxDynamicTableSize(1 << 30)
	return d
}

// frameReader reads frames that may be nonsense.
type frameReader struct {
	rest    []byte
	decoder *hpack.Decoder
}

// next returns the next frame, or header block, as text.
func (r *frameReader) next() (text string, ok bool) {
	kind, flags, id, payload, rest, ok := splitFrame(r.rest)
	if !ok {
		return "", false
	}
	if kind != http2.FrameHeaders {
		r.rest = rest
		return fmt.Sprintf("%v %x %d %q", kind, flags, id, payload), true
	}
	padding := 0
	if flags.Has(http2.FlagHeadersPadded) {
		if len(payload) == 0 || len(payload) <= int(payload[0]) {
			return "", false
		}
		padding, payload = int(payload[0]), payload[1:len(payload)-int(payload[0])]
	}
	var priority []byte
	if flags.Has(http2.FlagHeadersPriority) {
		if len(payload) < 5 {
			return "", false
		}
		priority, payload = payload[:5], payload[5:]
	}
	block := bytes.Clone(payload)
	for more := flags; !more.Has(http2.FlagHeadersEndHeaders); {
		var k http2.FrameType
		var stream uint32
		var fragment []byte
		k, more, stream, fragment, rest, ok = splitFrame(rest)
		if !ok || k != http2.FrameContinuation || stream != id {
			return "", false
		}
		block = append(block, fragment...)
	}
	fields, err := r.decoder.DecodeFull(block)
	if err != nil {
		return "", false
	}
	r.rest = rest
	var b strings.Builder
	fmt.Fprintf(&b, "HEADERS %x %d priority %x padding %d", flags&^http2.FlagHeadersEndHeaders, id, priority, padding)
	for _, f := range fields {
		fmt.Fprintf(&b, "\r\n%s: %q %v", f.Name, f.Value, f.Sensitive)
	}
	return b.String() + "\r\n", true
}

func splitFrame(p []byte) (kind http2.FrameType, flags http2.Flags, id uint32, payload, rest []byte, ok bool) {
	const header = 9
	if len(p) < header {
		return
	}
	n := int(p[0])<<16 | int(p[1])<<8 | int(p[2])
	if len(p)-header < n {
		return
	}
	return http2.FrameType(p[3]), http2.Flags(p[4]), binary.BigEndian.Uint32(p[5:]), p[header : header+n], p[header+n:], true
}

// deadline is set on both ends of a scripted connection.
func deadline(conns ...*net.TCPConn) {
	for _, c := range conns {
		c.SetDeadline(time.Now().Add(patience))
	}
}
