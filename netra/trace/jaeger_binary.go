package trace

import (
	"encoding/binary"
	"slices"
)

// What Jaeger's collectors take is a Batch in Thrift's binary protocol: the same
// structs as in an agent's packet (jaeger_packet.go), written plainly. A field is
// its type, its number and its value; a struct ends with a zero.

// Thrift's types.
const (
	binaryBool   = 2
	binaryI32    = 8
	binaryI64    = 10
	binaryText   = 11
	binaryStruct = 12
	binaryList   = 15
	binaryStop   = 0
)

// jaegerBatchHead returns what every Batch of the process begins with, up to the
// number of its spans.
func jaegerBatchHead(service string, process []Tag) []byte {
	p := appendBinaryField(nil, binaryStruct, 1)
	p = appendBinaryText(p, 1, service)
	p = appendBinaryTags(p, 2, recordOf(Span{Tags: process}).tags)
	p = append(p, binaryStop)
	return append(appendBinaryField(p, binaryList, 2), binaryStruct)
}

// jaegerBatchMessage returns a Batch of encoded spans.
func jaegerBatchMessage(head []byte, spans *batch) []byte {
	p := slices.Grow(slices.Clip(head), 4+len(spans.bytes)+1)
	p = binary.BigEndian.AppendUint32(p, uint32(spans.len()))
	return append(append(p, spans.bytes...), binaryStop)
}

func appendBinarySpan(p []byte, r *record) []byte {
	for i, n := range [...]uint64{r.context.TraceLow, r.context.TraceHigh, r.context.Span, r.context.Parent} {
		p = appendBinaryI64(p, byte(i+1), n)
	}
	p = appendBinaryText(p, 5, r.name)
	const sampled = 1
	p = appendBinaryI32(p, 7, sampled) // 6 are references, which there are none of
	p = appendBinaryI64(p, 8, uint64(r.start.UnixMicro()))
	p = appendBinaryI64(p, 9, uint64(r.duration.Microseconds()))
	return append(appendBinaryTags(p, 10, r.tags), binaryStop)
}

func appendBinaryTags(p []byte, field byte, tags []attribute) []byte {
	p = append(appendBinaryField(p, binaryList, field), binaryStruct)
	p = binary.BigEndian.AppendUint32(p, uint32(len(tags)))
	for i := range tags {
		tag := &tags[i]
		p = appendBinaryText(p, 1, tag.key)
		switch tag.kind {
		case ofTruth:
			p = appendBinaryField(appendBinaryI32(p, 2, jaegerBool), binaryBool, 5)
			p = append(p, byte(tag.number))
		case ofNumber:
			p = appendBinaryI64(appendBinaryI32(p, 2, jaegerLong), 6, uint64(tag.number))
		default:
			p = appendBinaryText(appendBinaryI32(p, 2, jaegerString), 3, tag.text)
		}
		p = append(p, binaryStop)
	}
	return p
}

func appendBinaryField(p []byte, kind, number byte) []byte { return append(p, kind, 0, number) }

func appendBinaryI32(p []byte, field byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(appendBinaryField(p, binaryI32, field), n)
}

func appendBinaryI64(p []byte, field byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(appendBinaryField(p, binaryI64, field), n)
}

func appendBinaryText[T text](p []byte, field byte, s T) []byte {
	s = valid(s)
	p = binary.BigEndian.AppendUint32(appendBinaryField(p, binaryText, field), uint32(len(s)))
	return append(p, s...)
}
