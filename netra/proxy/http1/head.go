package http1

import (
	"bytes"
	"iter"
)

// Reason says, in a word fit for a metric's label, why a connection is copied
// without being understood.
type Reason string

// The reasons that a Framer gives.
const (
	ReasonNotHTTP      Reason = "not_http"
	ReasonTLS          Reason = "tls"
	ReasonHTTP2        Reason = "http2"
	ReasonStartLine    Reason = "bad_start_line"
	ReasonField        Reason = "bad_header"
	ReasonFold         Reason = "folded_header"
	ReasonBareLF       Reason = "bare_lf"
	ReasonHeadTooLarge Reason = "head_too_large"
	ReasonLength       Reason = "bad_length"
	ReasonEncoding     Reason = "bad_transfer_encoding"
	ReasonAmbiguous    Reason = "length_and_encoding"
	ReasonChunk        Reason = "bad_chunk"
	ReasonUnsolicited  Reason = "unsolicited_response"
)

// Message is what a head says. Method and Target are a request's, Status is a
// response's.
type Message struct {
	// Head is the whole head, its empty line included.
	Head   []byte
	Method []byte
	Target []byte
	Status int
	// Minor is the version's second digit, 0 or 1.
	Minor int
	// Length is Content-Length's value, -1 where there is none.
	Length int64
	// Upgrade tells that the message has an Upgrade field.
	Upgrade bool

	chunked  bool
	encoded  bool
	fieldsAt int
}

func (m *Message) reset() { *m = Message{Length: -1} }

// Fields yields the head's fields in their order on the wire, names as they
// are spelt and values without the white space around them. It may be kept, and
// then yields those of whichever head the Message describes.
func (m *Message) Fields() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for f, ok := m.span(m.fieldsAt); ok; f, ok = m.span(f.next) {
			if !yield(m.Head[f.Name:f.NameEnd], m.Head[f.Value:f.ValueEnd]) {
				return
			}
		}
	}
}

// Span is where a field lies in a head: offsets of its name and its value.
type Span struct{ Name, NameEnd, Value, ValueEnd, next int }

// Spans yields where the fields of the head lie.
func (m *Message) Spans() iter.Seq[Span] {
	return func(yield func(Span) bool) {
		for f, ok := m.span(m.fieldsAt); ok && yield(f); f, ok = m.span(f.next) {
		}
	}
}

// span returns the field at an offset of the head, unless there is the empty line.
func (m *Message) span(at int) (f Span, ok bool) {
	length := bytes.IndexByte(m.Head[at:], '\n')
	if length <= 1 {
		return f, false
	}
	line := m.Head[at : at+length-1]
	colon := bytes.IndexByte(line, ':')
	value, end := trim(line, colon+1)
	return Span{at, at + colon, at + value, at + end, at + length + 1}, true
}

// trim returns where a value lies that begins at an offset of the line, without
// the white space around it.
func trim(line []byte, value int) (from, to int) {
	from, to = value, len(line)
	for from < to && blank(line[from]) {
		from++
	}
	for to > from && blank(line[to-1]) {
		to--
	}
	return from, to
}

// line takes one line of the head, without its LF, and reports whether it is
// the empty one.
func (m *Message) line(line []byte) (last bool, reason Reason) {
	if len(line) == 0 || line[len(line)-1] != '\r' {
		return false, ReasonBareLF
	}
	line = line[:len(line)-1]
	if len(line) == 0 {
		return true, ""
	}
	if blank(line[0]) {
		return false, ReasonFold
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return false, ReasonField
	}
	for _, c := range line[:colon] {
		if !token[c] {
			return false, ReasonField
		}
	}
	if content := line[colon+1:]; bytes.IndexByte(content, '\r') >= 0 || bytes.IndexByte(content, 0) >= 0 {
		return false, ReasonField
	}
	value, end := trim(line, colon+1)
	return false, m.field(line[:colon], line[value:end])
}

// field notes what bears on framing.
func (m *Message) field(name, value []byte) Reason {
	switch {
	case len(name) == len("Upgrade") && bytes.EqualFold(name, []byte("Upgrade")):
		m.Upgrade = true
	case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
		n, ok := decimal(value)
		if !ok || (m.Length >= 0 && m.Length != n) {
			return ReasonLength
		}
		m.Length = n
	case len(name) == len("Transfer-Encoding") && bytes.EqualFold(name, []byte("Transfer-Encoding")):
		if m.encoded { // two fields could be joined, or one be dropped
			return ReasonEncoding
		}
		m.encoded = true
		m.chunked = endsChunked(value)
	}
	return ""
}

// settle checks the fields against each other.
func (m *Message) settle() Reason {
	switch {
	case !m.encoded:
		return ""
	case m.Length >= 0:
		return ReasonAmbiguous
	case m.Minor == 0, !m.chunked:
		return ReasonEncoding
	}
	return ""
}

// endsChunked reports whether a Transfer-Encoding value has "chunked" once and
// last.
func endsChunked(value []byte) bool {
	for {
		item, rest, more := bytes.Cut(value, []byte{','})
		chunked := bytes.EqualFold(bytes.Trim(item, " \t"), []byte("chunked"))
		if !more {
			return chunked
		}
		if chunked {
			return false
		}
		value = rest
	}
}

// decimal reads a length of at most 18 digits: more could overflow, in one
// server or another.
func decimal(p []byte) (n int64, ok bool) {
	if len(p) == 0 || len(p) > 18 {
		return 0, false
	}
	for _, c := range p {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// token holds the characters of methods and field names (RFC 9110, 5.6.2).
var token = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()
