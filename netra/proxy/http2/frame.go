package http2

import (
	"encoding/binary"
	"fmt"
)

// Preface is how a client's connection begins.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Reason says, in a word fit for a metric's label, why a connection is copied
// without being understood.
type Reason string

// The reasons that a Follower gives.
const (
	ReasonPreface      Reason = "http2_preface"
	ReasonFrameSize    Reason = "http2_frame_size"
	ReasonFrame        Reason = "http2_bad_frame"
	ReasonStream       Reason = "http2_bad_stream"
	ReasonPadding      Reason = "http2_bad_padding"
	ReasonContinuation Reason = "http2_continuation"
	ReasonBlockSize    Reason = "http2_head_too_large"
)

// The types of frames that matter here (RFC 9113, 6).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePromise      = 0x5
	frameGoAway       = 0x7
	frameContinuation = 0x9
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	headerSize    = 9
	parameterSize = 6
	reservedBit   = 1 << 31
)

// header is what the first nine bytes of a frame say.
type header struct {
	length int
	kind   byte
	flags  byte
	stream uint32
	// reserved is the bit before the stream, which has no meaning and is kept.
	reserved uint32
}

func parseHeader(p []byte) header {
	stream := be32(p[5:])
	return header{
		length:   int(p[0])<<16 | int(p[1])<<8 | int(p[2]),
		kind:     p[3],
		flags:    p[4],
		stream:   stream &^ reservedBit,
		reserved: stream & reservedBit,
	}
}

func (h header) append(dst []byte) []byte {
	dst = append(dst, byte(h.length>>16), byte(h.length>>8), byte(h.length), h.kind, h.flags)
	return binary.BigEndian.AppendUint32(dst, h.stream|h.reserved)
}

func (h header) has(flag byte) bool { return h.flags&flag != 0 }

// padded reports whether the frame's payload begins with the padding's length.
func (h header) padded() bool {
	return h.has(flagPadded) && (h.kind == frameData || h.kind == frameHeaders || h.kind == framePromise)
}

// prefix returns how many bytes lie before the frame's content.
func (h header) prefix() (n int) {
	if h.padded() {
		n++
	}
	switch {
	case h.kind == frameHeaders && h.has(flagPriority):
		n += 5
	case h.kind == framePromise:
		n += 4
	}
	return n
}

// padding returns how many bytes lie behind the content of the frame at p's
// beginning, and whether they fit.
func (h header) padding(p []byte) (n int, ok bool) {
	if !h.padded() {
		return 0, true
	}
	n = int(p[headerSize])
	return n, h.prefix()+n <= h.length
}

// malformed reports whether the length is none that this type may have.
func (h header) malformed() bool {
	switch h.kind {
	case frameSettings:
		return h.length%parameterSize != 0 || h.has(flagAck) && h.length > 0
	case frameReset:
		return h.length != 4
	case frameGoAway:
		return h.length < 8
	}
	return false
}

func be32(p []byte) uint32 { return binary.BigEndian.Uint32(p) }

// Parameter is one of a SETTINGS frame.
type Parameter struct {
	ID    uint16
	Value uint32
}

// The parameters that matter here, and the values that hold before a SETTINGS
// frame says otherwise.
const (
	SettingTableSize = 0x1
	SettingFrameSize = 0x5

	DefaultTableSize = 4096
	// MinFrameSize and MaxFrameSize bound what an end may announce.
	MinFrameSize = 1 << 14
	MaxFrameSize = 1<<24 - 1
)

func parseParameter(p []byte) Parameter {
	return Parameter{binary.BigEndian.Uint16(p), be32(p[2:])}
}

// ErrorCode is why a stream or a connection is ended.
type ErrorCode uint32

// The codes that tell whether the server has looked at a stream.
const (
	NoError       ErrorCode = 0x0
	RefusedStream ErrorCode = 0x7
)

var errorNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func (c ErrorCode) String() string {
	if int(c) < len(errorNames) {
		return errorNames[c]
	}
	return fmt.Sprintf("code 0x%x", uint32(c))
}
