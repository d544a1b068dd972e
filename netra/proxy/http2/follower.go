// Package http2 follows the frames of an HTTP/2 connection in a stream of bytes
// and writes header blocks with further fields.
//
//	f := http2.NewFollower(http2.Client)
//	for {
//		piece := f.Next(unread) // unread begins where the last piece ended
//		switch piece.Kind {
//		case http2.Need:  // read more, then call again with the longer slice
//		case http2.Block: // f.Block says where in unread[:piece.N] it lies
//		…
//		case http2.Doubt: // f.Reason says why; copy everything from here on
//		}
//		unread = unread[piece.N:]
//	}
//
// A Follower does no I/O, keeps no bytes and gives the same pieces however the
// stream is cut, but that a frame's payload may come in several. It knows of
// frames what a proxy that changes nothing must know: where they end, which
// streams they open and end, and what bounds the other end has announced. All
// else (flow control, priorities, states of streams) is between the two ends,
// and so are faults in it: their verdicts reach each other as they are.
//
// # Header blocks
//
// Header blocks are compressed against a table that the sender's encoder and
// the receiver's decoder keep in step. There are two ways to put fields into a
// client's block without breaking that:
//
//   - Block.Insert leaves the block as it came and appends the fields as literals
//     that no table remembers. Both tables stay as if nothing had happened, so
//     that a proxy may stop looking at any time.
//   - Where a field's value is to change, which the server's table may already
//     hold, an Encoder writes this block and all further ones anew, without a
//     table: the first says that the table's size is now 0. If a proxy
//     stops looking after that, the client's blocks reach a server whose table
//     lacks entries. A reference to one that is missing is an error that ends
//     the connection. It is never taken for another: references count from the
//     newest entry, and the server's table is the newest part of the client's.
package http2

import "bytes"

// Role is which end sends what a Follower looks at. A client's header blocks
// are one piece each, since they are to be edited; a server's come in fragments,
// since they are not.
type Role uint8

// The two ends of a connection.
const (
	Client Role = iota
	Server
)

// Kind says what a piece is.
type Kind uint8

// The kinds of pieces.
const (
	Need     Kind = iota // nothing is decided yet: N is 0
	Other                // nothing that matters here
	Setting              // f.Setting
	Data                 // of f.Stream; f.Payload bytes of it are not framing
	Block                // a client's whole header block, all its frames
	Fragment             // f.Fragment of a server's header block
	Reset                // f.Stream is reset with f.Code
	GoAway               // f.Stream is the last that is looked at; f.Code
	Doubt                // the framing cannot be told: N is 0, for good
)

// Piece is what the next N bytes are. End marks the end of a stream in Data and
// the end of the block in Fragment.
type Piece struct {
	Kind Kind
	N    int
	End  bool
}

// MaxBlock bounds a header block, in bytes with its frames' headers: 64 KiB, as
// a head of HTTP/1.
const MaxBlock = 64 << 10

type state uint8

const (
	atPreface state = iota
	atFrame
	inSettings
	inPayload
	inDoubt
)

// Follower follows one direction of a connection. Its zero value is not ready;
// use NewFollower.
type Follower struct {
	// Limit is the longest payload that the other end has announced to take.
	Limit int

	Stream   uint32
	Setting  Parameter
	Code     ErrorCode
	Payload  int
	Fragment []byte
	Block    BlockFrames
	// EndStream tells that the header block ends its stream; Promise that it
	// is one of a PUSH_PROMISE.
	EndStream, Promise bool
	// Reason says why the framing is in doubt.
	Reason Reason

	role    Role
	state   state
	settled bool // the first SETTINGS frame was seen
	preface int  // bytes of it that were seen
	frame   header
	rest    int    // bytes of the frame's payload still to come
	content int    // those of them that are not padding
	open    uint32 // the stream whose header block is unfinished
}

// NewFollower returns a Follower at the beginning of a connection: a client's
// begins with the preface.
func NewFollower(role Role) *Follower {
	f := &Follower{role: role, Limit: MinFrameSize}
	if role == Server {
		f.state = atFrame
	}
	return f
}

// Holding reports, after a Need, whether the unread bytes may be the beginning
// of a header block that is still to be edited.
func (f *Follower) Holding() bool { return f.role == Client && f.state == atFrame }

// Next says what the first of the unread bytes are. After a Need the same
// bytes are given again, with more behind them.
func (f *Follower) Next(unread []byte) Piece {
	if f.state == inDoubt {
		return Piece{Kind: Doubt}
	}
	if len(unread) == 0 {
		return Piece{}
	}
	switch f.state {
	case atPreface:
		return f.greeting(unread)
	case inSettings:
		return f.parameter(unread)
	case inPayload:
		return f.payload(unread)
	default:
		return f.begin(unread)
	}
}

func (f *Follower) doubt(r Reason) Piece {
	f.state, f.Reason = inDoubt, r
	return Piece{Kind: Doubt}
}

func (f *Follower) greeting(p []byte) Piece {
	n := min(len(p), len(Preface)-f.preface)
	if string(p[:n]) != Preface[f.preface:f.preface+n] {
		return f.doubt(ReasonPreface)
	}
	if f.preface += n; f.preface == len(Preface) {
		f.state = atFrame
	}
	return Piece{Kind: Other, N: n}
}

// begin takes a frame's header, and of the payload what is needed with it.
func (f *Follower) begin(p []byte) Piece {
	if len(p) < headerSize {
		return Piece{}
	}
	if f.role == Client && f.open != 0 {
		return f.block(p)
	}
	h := parseHeader(p)
	if reason := f.check(h); reason != "" {
		return f.doubt(reason)
	}
	switch h.kind {
	case frameHeaders, frameContinuation, framePromise:
		if f.role == Client {
			return f.block(p)
		}
		return f.opening(p, h)
	case frameData:
		return f.opening(p, h)
	case frameReset:
		return f.word(p, h, Reset, 0)
	case frameGoAway:
		return f.word(p, h, GoAway, 4)
	}
	f.enter(h, h.length)
	if h.kind == frameSettings {
		f.settled = true
		if h.length > 0 {
			f.state = inSettings
		}
	}
	return Piece{Kind: Other, N: headerSize}
}

// enter goes on to the last n bytes of a frame.
func (f *Follower) enter(h header, n int) {
	f.frame, f.rest, f.content = h, n, 0
	if f.state = inPayload; n == 0 {
		f.state = atFrame
	}
}

// word takes a frame that has an error code behind skip bytes.
func (f *Follower) word(p []byte, h header, kind Kind, skip int) Piece {
	n := headerSize + skip + 4
	if len(p) < n {
		return Piece{}
	}
	f.Stream = h.stream
	if kind == GoAway {
		f.Stream = be32(p[headerSize:]) &^ reservedBit
	}
	f.Code = ErrorCode(be32(p[n-4:]))
	f.enter(h, h.length-(n-headerSize))
	return Piece{Kind: kind, N: n}
}

func (f *Follower) parameter(p []byte) Piece {
	if len(p) < parameterSize {
		return Piece{}
	}
	f.Setting = parseParameter(p)
	if f.rest -= parameterSize; f.rest == 0 {
		f.state = atFrame
	}
	return Piece{Kind: Setting, N: parameterSize}
}

// opening takes a frame's header and what lies between it and the content.
func (f *Follower) opening(p []byte, h header) Piece {
	before := h.prefix()
	if len(p) < headerSize+before {
		return Piece{}
	}
	padding, ok := h.padding(p)
	if !ok {
		return f.doubt(ReasonPadding)
	}
	if h.kind != frameContinuation {
		f.Stream = h.stream
		f.EndStream = h.has(flagEndStream) && h.kind != framePromise
		f.Promise = h.kind == framePromise
	}
	f.enter(h, h.length-before)
	f.content = f.rest - padding
	f.Payload, f.Fragment = 0, nil
	return f.piece(headerSize + before)
}

// payload takes what is there of a frame's content, then of its padding.
func (f *Follower) payload(p []byte) Piece {
	n := min(len(p), f.rest)
	content := f.content > 0
	if content {
		n = min(n, f.content)
		f.content -= n
	}
	if f.rest -= n; f.rest == 0 {
		f.state = atFrame
	}
	if !content {
		return Piece{Kind: Other, N: n}
	}
	f.Payload, f.Fragment = n, p[:n]
	return f.piece(n)
}

// piece describes n bytes at whose end f.content more are to come.
func (f *Follower) piece(n int) Piece {
	done := f.content == 0
	if f.frame.kind == frameData {
		return Piece{Data, n, done && f.frame.has(flagEndStream)}
	}
	f.open = f.frame.stream
	end := done && f.frame.has(flagEndHeaders)
	if end {
		f.open = 0
	}
	return Piece{Fragment, n, end}
}

// block takes a client's header block with all its frames.
func (f *Follower) block(p []byte) Piece {
	b := &f.Block
	if b.whole {
		b.reset()
	}
	for {
		q := p[b.size:]
		if len(q) < headerSize {
			return Piece{}
		}
		h := parseHeader(q)
		if reason := f.check(h); reason != "" {
			return f.doubt(reason)
		}
		before := h.prefix()
		if b.size+headerSize+h.length > MaxBlock {
			return f.doubt(ReasonBlockSize)
		}
		if len(q) < headerSize+h.length {
			return Piece{}
		}
		padding, ok := h.padding(q)
		if !ok {
			return f.doubt(ReasonPadding)
		}
		if len(b.frames) == 0 {
			f.Stream, f.EndStream = h.stream, h.has(flagEndStream)
		}
		b.add(h, before, padding)
		if f.open = h.stream; h.has(flagEndHeaders) {
			f.open, b.whole = 0, true
			return Piece{Kind: Block, N: b.size}
		}
	}
}

// check looks for what an end must not send.
func (f *Follower) check(h header) Reason {
	switch {
	case !f.settled && (h.kind != frameSettings || h.has(flagAck)):
		return ReasonPreface
	case h.length > f.Limit:
		return ReasonFrameSize
	case (h.kind == frameContinuation) != (f.open != 0), f.open != 0 && h.stream != f.open:
		return ReasonContinuation
	}
	switch h.kind {
	case frameData, frameReset, framePromise, frameHeaders:
		if h.stream == 0 || h.kind == frameHeaders && f.role == Client && h.stream%2 == 0 {
			return ReasonStream
		}
	case frameSettings, frameGoAway:
		if h.stream != 0 {
			return ReasonStream
		}
	}
	if h.length < h.prefix() || h.malformed() || h.kind == framePromise && f.role == Client {
		return ReasonFrame
	}
	return ""
}

// Greets reports whether a server's first bytes are those of HTTP/2, which it
// may send before it has seen the client's; sure tells that there are enough of
// them.
func Greets(p []byte) (greets, sure bool) {
	if len(p) > 0 && p[0] != 0 { // longer than 64 KiB
		return false, true
	}
	if len(p) < headerSize {
		rest := p[min(len(p), 3):]
		greets = bytes.HasPrefix([]byte{byte(frameSettings), 0, 0, 0, 0, 0}, rest)
		return greets, !greets
	}
	h := parseHeader(p)
	return h.kind == frameSettings && h.flags == 0 && h.stream == 0 && !h.malformed(), true
}
