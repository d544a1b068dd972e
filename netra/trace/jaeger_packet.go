package trace

import (
	"encoding/binary"
	"fmt"
)

// maxPacket is the largest packet that an agent takes, in bytes;
// jaeger-client-go's number.
const maxPacket = 65000

// packetEncoder writes what Jaeger's agents take: the call emitBatch in Thrift's
// compact protocol. jaeger-client-go writes the same by way of generated code
// that looks up the type of every field; that was a quarter of all that netra
// does for a request, and the message is short.
type packetEncoder struct {
	head []byte // up to the spans: the call, and the process
	body []byte // spans
	out  []byte
}

// Thrift's compact types, as they stand in a field's first byte below the
// distance from the field before.
const (
	compactTrue   = 1
	compactFalse  = 2
	compactI32    = 5
	compactI64    = 6
	compactText   = 8
	compactList   = 9
	compactStruct = 12
	compactStop   = 0
)

// Values of Jaeger's TagType.
const (
	jaegerString = 0
	jaegerBool   = 2
	jaegerLong   = 3
)

func newPacketEncoder(service string, process []Tag) *packetEncoder {
	const protocol, versionOneWay = 0x82, 1 | 4<<5
	p := []byte{protocol, versionOneWay, 0} // the call's number, which a call without answer does not need
	p = appendCompactText(p, "emitBatch")
	p = append(p, 1<<4|compactStruct) // its argument, a Batch
	p = append(p, 1<<4|compactStruct) // the Batch's process
	p = appendCompactText(append(p, 1<<4|compactText), service)
	p = appendJaegerTags(append(p, 1<<4|compactList), process)
	p = append(p, compactStop)
	return &packetEncoder{head: append(p, 1<<4|compactList)} // the Batch's spans
}

// next returns a packet of the first spans that fit into one, and how many these
// are: none where the first alone is too large. The packet is valid until the
// next call.
func (e *packetEncoder) next(spans []Span) (packet []byte, n int) {
	// The list's length and the ends of Batch and argument.
	room := maxPacket - len(e.head) - 8
	e.body = e.body[:0]
	for n < len(spans) {
		before := len(e.body)
		e.body = appendJaegerSpan(e.body, &spans[n])
		if len(e.body) > room {
			e.body = e.body[:before]
			break
		}
		n++
	}
	e.out = appendCompactList(append(e.out[:0], e.head...), n)
	e.out = append(append(e.out, e.body...), compactStop, compactStop)
	return e.out, n
}

func appendJaegerSpan(p []byte, s *Span) []byte {
	for _, n := range [...]uint64{s.Context.TraceLow, s.Context.TraceHigh, s.Context.Span, s.Context.Parent} {
		p = binary.AppendVarint(append(p, 1<<4|compactI64), int64(n))
	}
	p = appendCompactText(append(p, 1<<4|compactText), s.Name)
	const sampled = 1
	p = binary.AppendVarint(append(p, 2<<4|compactI32), sampled) // after the references, which there are none of
	p = binary.AppendVarint(append(p, 1<<4|compactI64), s.Start.UnixMicro())
	p = binary.AppendVarint(append(p, 1<<4|compactI64), s.Duration.Microseconds())
	p = appendJaegerTags(append(p, 1<<4|compactList), s.Tags)
	return append(p, compactStop)
}

func appendJaegerTags(p []byte, tags []Tag) []byte {
	p = appendCompactList(p, len(tags))
	for _, tag := range tags {
		p = appendCompactText(append(p, 1<<4|compactText), tag.Key)
		p = append(p, 1<<4|compactI32)
		switch v := tag.Value.(type) {
		case bool:
			p = binary.AppendVarint(p, jaegerBool)
			if v {
				p = append(p, 3<<4|compactTrue)
			} else {
				p = append(p, 3<<4|compactFalse)
			}
		case int64:
			p = binary.AppendVarint(p, jaegerLong)
			p = binary.AppendVarint(append(p, 4<<4|compactI64), v)
		case string:
			p = appendCompactText(append(binary.AppendVarint(p, jaegerString), 1<<4|compactText), v)
		default: // what JAEGER_TAGS has
			p = appendCompactText(append(binary.AppendVarint(p, jaegerString), 1<<4|compactText), fmt.Sprint(v))
		}
		p = append(p, compactStop)
	}
	return p
}

// appendList begins a list of n structs.
func appendCompactList(p []byte, n int) []byte {
	if n < 15 {
		return append(p, byte(n)<<4|compactStruct)
	}
	return binary.AppendUvarint(append(p, 15<<4|compactStruct), uint64(n))
}

func appendCompactText(p []byte, s string) []byte {
	s = validText(s)
	return append(binary.AppendUvarint(p, uint64(len(s))), s...)
}
