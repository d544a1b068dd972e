package proxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is one end of an HTTP/2 connection that is written and read frame by
// frame.
type peer struct {
	t *testing.T
	*http2.Framer
	in      io.Reader
	encoded bytes.Buffer
	encoder *hpack.Encoder
	decoder *hpack.Decoder
}

func newEnd(t *testing.T, conn io.ReadWriter) *peer {
	e := &peer{t: t, in: conn, Framer: http2.NewFramer(conn, nil), decoder: hpack.NewDecoder(4096, nil)}
	e.encoder = hpack.NewEncoder(&e.encoded)
	e.AllowIllegalWrites = true
	return e
}

// ends connects a client and a server that have greeted each other.
func ends(t *testing.T, r *rig, settings ...http2.Setting) (client, server *peer) {
	t.Helper()
	c, s := pair(t, r)
	client, server = newEnd(t, c), newEnd(t, s)
	send(t, c, http2.ClientPreface)
	client.WriteSettings()
	expect(t, s, http2.ClientPreface)
	server.expect("SETTINGS 0")
	server.WriteSettings(settings...)
	client.WriteSettingsAck()
	server.expect("SETTINGS 0 ack")
	server.WriteSettingsAck()
	client.read()
	client.expect("SETTINGS 0 ack")
	return client, server
}

// block encodes fields that are written as "name: value".
func (e *peer) block(fields ...string) []byte {
	e.encoded.Reset()
	for _, f := range fields {
		at := strings.Index(f[1:], ": ") + 1
		e.encoder.WriteField(hpack.HeaderField{Name: f[:at], Value: f[at+2:], Sensitive: f[:at] == "secret"})
	}
	return bytes.Clone(e.encoded.Bytes())
}

// request sends a request's head.
func (e *peer) request(id uint32, end bool, fields ...string) {
	e.t.Helper()
	e.headers(id, end, append([]string{":method: GET", ":scheme: http", ":path: /orders/17", ":authority: orders"}, fields...)...)
}

func (e *peer) headers(id uint32, end bool, fields ...string) {
	e.t.Helper()
	if err := e.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: e.block(fields...), EndStream: end, EndHeaders: true}); err != nil {
		e.t.Fatal(err)
	}
}

// read returns the next frame, or header block, as text.
func (e *peer) read() string {
	e.t.Helper()
	text, err := e.next()
	if err != nil {
		e.t.Fatalf("reading a frame: %v", err)
	}
	return text
}

func (e *peer) next() (string, error) {
	kind, flags, id, payload, err := e.frame()
	if err != nil {
		return "", err
	}
	name := fmt.Sprint(kind, " ", id)
	if kind != http2.FrameHeaders {
		if kind == http2.FrameSettings && flags != 0 {
			return name + " ack", nil
		}
		if kind == http2.FrameSettings && len(payload) == 0 {
			return name, nil
		}
		return fmt.Sprintf("%s %x %.40q of %d", name, flags, payload, len(payload)), nil
	}
	framing, fragment, padding := payload[:0], payload, 0
	if flags.Has(http2.FlagHeadersPadded) {
		padding, fragment = int(payload[0]), payload[1:len(payload)-int(payload[0])]
	}
	if flags.Has(http2.FlagHeadersPriority) {
		framing, fragment = fragment[:5], fragment[5:]
	}
	block := bytes.Clone(fragment)
	for more := flags; !more.Has(http2.FlagHeadersEndHeaders); {
		kind, f, _, fragment, err := e.frame()
		if err != nil || kind != http2.FrameContinuation {
			return "", fmt.Errorf("%v in a header block: %w", kind, err)
		}
		block, more = append(block, fragment...), f
	}
	fields, err := e.decoder.DecodeFull(block)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s end %v priority %x padding %d", name, flags.Has(http2.FlagHeadersEndStream), framing, padding)
	for _, f := range fields {
		fmt.Fprintf(&b, "\r\n%s: %s", f.Name, f.Value)
		if f.Sensitive {
			b.WriteString(" (never indexed)")
		}
	}
	return b.String() + "\r\n", nil
}

// frame reads one frame as it is.
func (e *peer) frame() (kind http2.FrameType, flags http2.Flags, id uint32, payload []byte, err error) {
	var header [9]byte
	if _, err = io.ReadFull(e.in, header[:]); err != nil {
		return
	}
	payload = make([]byte, int(header[0])<<16|int(header[1])<<8|int(header[2]))
	_, err = io.ReadFull(e.in, payload)
	return http2.FrameType(header[3]), http2.Flags(header[4]), binary.BigEndian.Uint32(header[5:]), payload, err
}

// expect reads a frame; of a header block the inserted fields are left out.
func (e *peer) expect(want string) {
	e.t.Helper()
	if got := plain2(e.read()); got != want {
		e.t.Fatalf("received %q, want %q", got, want)
	}
}

// plain2 removes the fields that the proxy inserts.
func plain2(s string) string {
	return plain(strings.ReplaceAll(s, "x-request-id: ", "X-Request-Id: "))
}

// frames returns all of a stream's frames as text.
func frames(t *testing.T, r io.Reader) (all []string) {
	t.Helper()
	e := &peer{t: t, in: r, decoder: hpack.NewDecoder(4096, nil)}
	for {
		text, err := e.next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("after %d frames: %v", len(all), err)
		}
		all = append(all, text)
	}
}
