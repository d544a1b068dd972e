package push

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

const flushPacket = "0000"

// maxPacket is the longest pkt-line, with its four digits of length.
const maxPacket = 65520

// appendPacket appends payload, which must be short, as a pkt-line.
func appendPacket(b []byte, payload string) []byte {
	return fmt.Appendf(b, "%04x%s", len(payload)+4, payload)
}

// packets reads pkt-lines.
type packets struct {
	r   *bufio.Reader
	buf []byte
}

func newPackets(r io.Reader) *packets { return &packets{r: bufio.NewReader(r)} }

// next returns a packet's payload, nil for a flush packet; it is valid until
// the next call.
func (p *packets) next() ([]byte, error) {
	var digits [4]byte
	if _, err := io.ReadFull(p.r, digits[:]); err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(string(digits[:]), 16, 16)
	switch {
	case err != nil || n > maxPacket || n > 0 && n < 4:
		return nil, fmt.Errorf("malformed packet length %q", digits)
	case n == 0:
		return nil, nil
	}
	if p.buf == nil {
		p.buf = make([]byte, maxPacket)
	}
	payload := p.buf[:n-4]
	if _, err := io.ReadFull(p.r, payload); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return payload, nil
}

// readRef finds a ref in a ref advertisement; the id is zero where it is not
// there.
func readRef(r io.Reader, name string) (id object.ID, err error) {
	packets := newPackets(r)
	first, err := packets.next()
	if err != nil {
		return id, fmt.Errorf("reading the hub's refs: %w", err)
	}
	if !strings.HasPrefix(string(first), "# service=git-receive-pack") {
		return id, fmt.Errorf("reading the hub's refs: not a git repository's answer: %.40q", first)
	}
	for flushes := 0; flushes < 2; {
		data, err := packets.next()
		if err != nil {
			return id, fmt.Errorf("reading the hub's refs: %w", err)
		}
		if data == nil {
			flushes++
			continue
		}
		line, _, _ := strings.Cut(strings.TrimSuffix(string(data), "\n"), "\x00")
		if text, ref, _ := strings.Cut(line, " "); ref == name {
			if id, err = object.ParseID(text); err != nil {
				return id, fmt.Errorf("reading the hub's refs: %w", err)
			}
		}
	}
	return id, nil
}

// maxLine bounds a line that the hub sends to be shown; what is longer is cut
// in pieces.
const maxLine = 64 << 10

// lineWriter splits side-band 2 into lines, which packets need not end.
type lineWriter struct {
	buf  bytes.Buffer
	line func(string)
}

func (w *lineWriter) write(data []byte) {
	for len(data) > 0 {
		i := bytes.IndexAny(data, "\r\n")
		if i < 0 {
			w.buf.Write(data)
			if w.buf.Len() > maxLine {
				w.flush()
			}
			return
		}
		w.buf.Write(data[:i])
		w.flush()
		data = data[i+1:]
	}
}

func (w *lineWriter) flush() {
	if w.buf.Len() > 0 {
		w.line(w.buf.String())
	}
	w.buf.Reset()
}
