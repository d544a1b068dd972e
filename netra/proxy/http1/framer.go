// Package http1 follows the boundaries of HTTP/1 messages in a stream of bytes
// without touching them.
//
//	f := http1.NewFramer(http1.Request)
//	for {
//		piece := f.Next(unread) // unread begins where the last piece ended
//		switch piece.Kind {
//		case http1.Need:  // read more, then call again with the longer slice
//		case http1.Head:  // f.Message describes unread[:piece.N]
//		case http1.Body:  // unread[:piece.N] belongs to the message's body
//		case http1.Gap:   // an empty line between two messages
//		case http1.Doubt: // f.Reason says why; copy everything from here on
//		}
//		unread = unread[piece.N:]
//	}
//
// A Framer does no I/O, keeps no bytes and gives the same pieces however the
// stream is cut. It is stricter than most servers: where two servers could
// read the same bytes differently it answers Doubt, and its user, who changes
// nothing on the wire, becomes a plain copier. A Framer never asks to drop or
// to alter a byte.
//
// A response's length depends on the request that it answers, so after each
// Head piece of a Response framer its user calls Answer with that request's
// method.
package http1

import "bytes"

// Role is which kind of message a stream carries.
type Role uint8

// The two directions of a connection.
const (
	Request Role = iota
	Response
)

// Kind says what a piece is.
type Kind uint8

// The kinds of pieces.
const (
	Need  Kind = iota // nothing is decided yet: N is 0
	Head              // a complete head, its empty line included
	Body              // bytes of a body, chunk framing and trailers included
	Gap               // an empty line before a request line
	Doubt             // the framing cannot be told: N is 0, for good
)

// Piece is what the next N bytes are. End marks the last piece of a message.
type Piece struct {
	Kind Kind
	N    int
	End  bool
}

// MaxHead bounds a head, in bytes: 64 KiB, eight times what common servers
// accept and what a window of a proxied connection has room for.
const MaxHead = 64 << 10

type state uint8

const (
	atStart     state = iota
	inStartLine       // some of the start line was seen
	inFields          // the start line is complete
	atAnswer          // a response's head is complete, Answer not yet called
	inLength          // a body of known length
	inChunks
	inClose // a body that ends with the connection
	inDoubt
)

// Framer follows one direction of a connection. Its zero value is not ready;
// use NewFramer.
type Framer struct {
	// Message describes the current message, from its Head piece on. Its
	// slices alias the bytes given to Next and are valid until the next call.
	Message Message
	// Reason says why the framing is in doubt.
	Reason Reason
	// Payload counts the current body's bytes, without chunk framing.
	Payload int64

	role     Role
	state    state
	messages int   // complete heads so far
	scanned  int   // bytes of the current head that were looked at
	line     int   // where the head's current line begins
	rest     int64 // bytes of a body of known length still to come
	start    startLine
	chunks   chunks
}

// NewFramer returns a Framer at the beginning of a stream.
func NewFramer(role Role) *Framer { return &Framer{role: role} }

// AtStart reports whether the next byte begins a message.
func (f *Framer) AtStart() bool { return f.state == atStart }

// Holding reports whether the stream is inside a head whose start line is
// complete, so that the message is known to be HTTP/1.
func (f *Framer) Holding() bool { return f.state == inFields }

// Likely reports whether the stream is inside a head that is a request's as far
// as can be told. Of the first one that needs a method and the beginning of a
// path: a word alone may be all that another protocol's client says.
func (f *Framer) Likely() bool {
	return f.state == inFields || f.state == inStartLine && (f.messages > 0 || f.start.path)
}

// Next says what the first of the unread bytes are. After a Need the same
// bytes are given again, with more behind them.
func (f *Framer) Next(unread []byte) Piece {
	if f.state == inDoubt {
		return Piece{Kind: Doubt}
	}
	if len(unread) == 0 {
		return Piece{}
	}
	switch f.state {
	case atStart, inStartLine, inFields:
		return f.head(unread)
	case inLength:
		n := int(min(int64(len(unread)), f.rest))
		f.rest -= int64(n)
		f.Payload += int64(n)
		if f.rest == 0 {
			f.state = atStart
		}
		return Piece{Body, n, f.rest == 0}
	case inChunks:
		return f.chunked(unread)
	case inClose:
		f.Payload += int64(len(unread))
		return Piece{Kind: Body, N: len(unread)}
	default: // atAnswer: the user forgot Answer
		return f.doubt(ReasonUnsolicited)
	}
}

// EOF tells the Framer that the stream has ended and reports whether it ended
// between messages or at the end of a body that ends with the connection.
func (f *Framer) EOF() (clean bool) {
	clean = f.state == atStart || f.state == inClose
	if f.state == inClose {
		f.state = atStart
	}
	return clean
}

// Answering is what a response's head means for the request it answers.
type Answering uint8

// The kinds of answers.
const (
	Interim Answering = iota // 1xx: another head follows
	Final                    // the answer; its body, if any, follows
	Ended                    // the answer, without a body
	Tunnel                   // what follows is not HTTP/1 any more
)

// Answer says, after a Response framer's Head piece, how the response's body is
// framed, given the method of the request that it answers.
func (f *Framer) Answer(method string) Answering {
	m := &f.Message
	f.state = atStart
	switch {
	case m.Status == 101, method == "CONNECT" && m.Status/100 == 2:
		f.state = inClose
		return Tunnel
	case m.Status/100 == 1:
		return Interim
	case method == "HEAD", m.Status == 204, m.Status == 304:
		return Ended
	case m.chunked:
		f.beginChunks()
		return Final
	case m.Length > 0:
		f.state, f.rest = inLength, m.Length
		return Final
	case m.Length == 0:
		return Ended
	default:
		f.state = inClose
		return Final
	}
}

func (f *Framer) doubt(r Reason) Piece {
	f.state, f.Reason = inDoubt, r
	return Piece{Kind: Doubt}
}

// head looks for the end of a head, line by line; f.scanned bytes of p were
// looked at before.
func (f *Framer) head(p []byte) Piece {
	q := p[:min(len(p), MaxHead)]
	if f.state == atStart {
		if f.role == Request && f.messages > 0 && p[0] == '\r' {
			return f.gap(p)
		}
		f.Message.reset()
		f.start = startLine{role: f.role}
		f.state, f.scanned, f.line = inStartLine, 0, 0
	}
	if f.state == inStartLine {
		done, reason := f.start.scan(q, &f.scanned, &f.Message)
		switch {
		case reason != "":
			if f.messages == 0 && f.role == Request {
				reason = foreign(p)
			}
			return f.doubt(reason)
		case done:
			f.state, f.line = inFields, f.scanned
			f.Message.fieldsAt = f.scanned
		}
	}
	for f.state == inFields {
		i := bytes.IndexByte(q[f.scanned:], '\n')
		if i < 0 {
			f.scanned = len(q)
			break
		}
		end := f.scanned + i
		last, reason := f.Message.line(q[f.line:end])
		if reason != "" {
			return f.doubt(reason)
		}
		f.scanned, f.line = end+1, end+1
		if last {
			return f.headEnd(q[:end+1])
		}
	}
	if len(p) >= MaxHead {
		return f.doubt(ReasonHeadTooLarge)
	}
	return Piece{}
}

func (f *Framer) gap(p []byte) Piece {
	switch {
	case len(p) < 2:
		return Piece{}
	case p[1] != '\n':
		return f.doubt(ReasonStartLine)
	}
	return Piece{Kind: Gap, N: 2}
}

// headEnd decides how the body of the message with this head is framed.
func (f *Framer) headEnd(head []byte) Piece {
	m := &f.Message
	m.Head = head
	m.Method, m.Target = head[:f.start.methodEnd], head[f.start.target0:f.start.targetEnd]
	if reason := m.settle(); reason != "" {
		return f.doubt(reason)
	}
	f.messages++
	f.Payload = 0
	piece := Piece{Kind: Head, N: len(head)}
	switch {
	case f.role == Response:
		f.state = atAnswer
	case m.chunked:
		f.beginChunks()
	case m.Length > 0:
		f.state, f.rest = inLength, m.Length
	default:
		f.state = atStart
		piece.End = true
	}
	return piece
}

func (f *Framer) beginChunks() {
	f.state, f.chunks = inChunks, chunks{}
}

func (f *Framer) chunked(p []byte) Piece {
	n, end, ok := f.chunks.scan(p, &f.Payload)
	switch {
	case end:
		f.state = atStart
	case !ok && n == 0:
		return f.doubt(ReasonChunk)
	}
	// Where the doubt lies behind good bytes these come first; the next call
	// begins with the bad one.
	return Piece{Body, n, end}
}
