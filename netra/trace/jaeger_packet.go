package trace

import "encoding/binary"

// maxPacket is the largest packet that an agent takes, in bytes;
// jaeger-client-go's number.
const maxPacket = 65000

// packetEncoder writes what Jaeger's agents take: the call emitBatch in Thrift's
// compact protocol. jaeger-client-go writes the same by way of generated code
// that looks up the type of every field; that was a quarter of all that netra
// does for a request, and the message is short.
type packetEncoder struct {
	head []byte // up to the spans: the call, and the process
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
	p = appendJaegerTags(append(p, 1<<4|compactList), recordOf(Span{Tags: process}).tags)
	p = append(p, compactStop)
	return &packetEncoder{head: append(p, 1<<4|compactList)} // the Batch's spans
}

// next returns a packet of the spans that fit into one, from the given one on, and
// how many these are: none where the first alone is too large. The packet is valid
// until the next call.
func (e *packetEncoder) next(spans *batch, from int) (packet []byte, n int) {
	// The list's length and the ends of Batch and argument.
	room := maxPacket - len(e.head) - 8
	begin := len(spans.upTo(from))
	end := begin
	for _, next := range spans.ends[from:] {
		if next-begin > room {
			break
		}
		end = next
		n++
	}
	e.out = appendCompactList(append(e.out[:0], e.head...), n)
	e.out = append(append(e.out, spans.bytes[begin:end]...), compactStop, compactStop)
	return e.out, n
}

func appendJaegerSpan(p []byte, r *record) []byte {
	for _, n := range [...]uint64{r.context.TraceLow, r.context.TraceHigh, r.context.Span, r.context.Parent} {
		p = binary.AppendVarint(append(p, 1<<4|compactI64), int64(n))
	}
	p = appendCompactText(append(p, 1<<4|compactText), r.name)
	const sampled = 1
	p = binary.AppendVarint(append(p, 2<<4|compactI32), sampled) // after the references, which there are none of
	p = binary.AppendVarint(append(p, 1<<4|compactI64), r.start.UnixMicro())
	p = binary.AppendVarint(append(p, 1<<4|compactI64), r.duration.Microseconds())
	p = appendJaegerTags(append(p, 1<<4|compactList), r.tags)
	return append(p, compactStop)
}

func appendJaegerTags(p []byte, tags []attribute) []byte {
	p = appendCompactList(p, len(tags))
	for i := range tags {
		tag := &tags[i]
		p = appendCompactBytes(append(p, 1<<4|compactText), tag.key)
		p = append(p, 1<<4|compactI32)
		switch tag.kind {
		case ofTruth:
			p = binary.AppendVarint(p, jaegerBool)
			if tag.number != 0 {
				p = append(p, 3<<4|compactTrue)
			} else {
				p = append(p, 3<<4|compactFalse)
			}
		case ofNumber:
			p = binary.AppendVarint(p, jaegerLong)
			p = binary.AppendVarint(append(p, 4<<4|compactI64), tag.number)
		default:
			p = appendCompactText(append(binary.AppendVarint(p, jaegerString), 1<<4|compactText), tag.text)
		}
		p = append(p, compactStop)
	}
	return p
}

// appendCompactList begins a list of n structs.
func appendCompactList(p []byte, n int) []byte {
	if n < 15 {
		return append(p, byte(n)<<4|compactStruct)
	}
	return binary.AppendUvarint(append(p, 15<<4|compactStruct), uint64(n))
}

func appendCompactText[T text](p []byte, s T) []byte { return appendCompactBytes(p, valid(s)) }

func appendCompactBytes[T text](p []byte, s T) []byte {
	return append(binary.AppendUvarint(p, uint64(len(s))), s...)
}
