package trace

import (
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of opentelemetry-proto, version 1: the files
// collector/trace/v1/trace_service.proto, trace/v1/trace.proto,
// resource/v1/resource.proto and common/v1/common.proto.
const (
	requestResourceSpans protowire.Number = 1

	resourceSpansResource protowire.Number = 1
	resourceSpansScope    protowire.Number = 2

	resourceAttributes protowire.Number = 1

	scopeSpansScope protowire.Number = 1
	scopeSpansSpans protowire.Number = 2

	scopeName    protowire.Number = 1
	scopeVersion protowire.Number = 2

	spanTraceID    protowire.Number = 1
	spanSpanID     protowire.Number = 2
	spanParentID   protowire.Number = 4
	spanName       protowire.Number = 5
	spanKind       protowire.Number = 6
	spanStart      protowire.Number = 7
	spanEnd        protowire.Number = 8
	spanAttributes protowire.Number = 9
	spanStatus     protowire.Number = 15
	spanFlags      protowire.Number = 16

	statusMessage protowire.Number = 2
	statusCode    protowire.Number = 3

	keyValueKey   protowire.Number = 1
	keyValueValue protowire.Number = 2

	valueString protowire.Number = 1
	valueBool   protowire.Number = 2
	valueInt    protowire.Number = 3

	responsePartialSuccess protowire.Number = 1
	partialRejected        protowire.Number = 1
	partialMessage         protowire.Number = 2

	// google.rpc.Status, the body of a refusal.
	rpcStatusMessage protowire.Number = 2
)

// statusError is Status.StatusCode's STATUS_CODE_ERROR.
const statusError = 2

// flagSampled is W3C's sampled flag in Span.flags.
const flagSampled = 1

// scopeOfNetra names what made the spans.
const scopeOfNetra = "github.com/formicarium/formicarium/netra"

// spanKinds are Span.SpanKind's values by those of the tag span.kind.
var spanKinds = map[string]uint64{"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}

// otlpEncoder writes ExportTraceServiceRequests. What is the same in each of
// them is encoded once.
type otlpEncoder struct{ resource, scope []byte }

func newOTLPEncoder(resource []Tag, version string) otlpEncoder {
	var e otlpEncoder
	b, start := open(nil, resourceSpansResource)
	tags := recordOf(Span{Tags: resource}).tags
	for i := range tags {
		b = appendAttribute(b, resourceAttributes, &tags[i])
	}
	e.resource = shut(b, start)
	b, start = open(nil, scopeSpansScope)
	b = appendText(b, scopeName, scopeOfNetra)
	b = appendText(b, scopeVersion, version)
	e.scope = shut(b, start)
	return e
}

// request appends a request with the encoded spans to b.
func (e otlpEncoder) request(b, spans []byte) []byte {
	b, outer := open(b, requestResourceSpans)
	b = append(b, e.resource...)
	b, inner := open(b, resourceSpansScope)
	b = append(b, e.scope...)
	b = append(b, spans...)
	return shut(shut(b, inner), outer)
}

func appendSpan(b []byte, r *record) []byte {
	b, start := open(b, scopeSpansSpans)
	b = protowire.AppendTag(b, spanTraceID, protowire.BytesType)
	b = protowire.AppendVarint(b, 16)
	b = binary.BigEndian.AppendUint64(b, r.context.TraceHigh)
	b = binary.BigEndian.AppendUint64(b, r.context.TraceLow)
	b = appendID(b, spanSpanID, r.context.Span)
	if r.context.Parent != 0 {
		b = appendID(b, spanParentID, r.context.Parent)
	}
	b = appendText(b, spanName, r.name)
	begin := r.start.UnixNano()
	b = appendFixed64(b, spanStart, uint64(begin))
	b = appendFixed64(b, spanEnd, uint64(begin+int64(r.duration)))
	failed, reason := false, []byte(nil)
	for i := range r.tags {
		tag := &r.tags[i]
		switch tag.key {
		case "span.kind":
			b = appendVarint(b, spanKind, spanKinds[string(tag.text)])
			continue
		case "error":
			if failed = tag.kind == ofTruth && tag.number != 0; failed {
				continue // the status says it
			}
		case "error.reason":
			reason = tag.text
		}
		b = appendAttribute(b, spanAttributes, tag)
	}
	if failed {
		var status int
		b, status = open(b, spanStatus)
		if len(reason) > 0 {
			b = appendText(b, statusMessage, reason)
		}
		b = shut(appendVarint(b, statusCode, statusError), status)
	}
	b = protowire.AppendTag(b, spanFlags, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, flagSampled)
	return shut(b, start)
}

// appendAttribute appends a KeyValue. There are many in each span, so what is in
// it is measured first and not moved afterwards; all its fields' tags are one byte.
func appendAttribute(b []byte, field protowire.Number, tag *attribute) []byte {
	text, value := tag.text, 2
	switch tag.kind {
	case ofNumber:
		value = 1 + protowire.SizeVarint(uint64(tag.number))
	case ofText:
		text = valid(text)
		value = 1 + protowire.SizeBytes(len(text))
	}
	b = appendLength(b, field, 1+protowire.SizeBytes(len(tag.key))+1+protowire.SizeBytes(value))
	b = appendBytes(b, keyValueKey, tag.key)
	b = appendLength(b, keyValueValue, value)
	switch tag.kind {
	case ofTruth:
		return appendVarint(b, valueBool, uint64(tag.number))
	case ofNumber:
		return appendVarint(b, valueInt, uint64(tag.number))
	default:
		return appendBytes(b, valueString, text)
	}
}

func appendText[T text](b []byte, field protowire.Number, s T) []byte {
	return appendBytes(b, field, valid(s))
}

func appendBytes[T text](b []byte, field protowire.Number, s T) []byte {
	return append(appendLength(b, field, len(s)), s...)
}

// appendLength begins a field of n bytes.
func appendLength(b []byte, field protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(n))
}

func appendID(b []byte, field protowire.Number, id uint64) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, 8)
	return binary.BigEndian.AppendUint64(b, id)
}

func appendVarint(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func appendFixed64(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), n)
}

// open begins a message in a field of b; shut ends it. The length that stands
// before a message is known only at its end, when the message is moved to make
// room for it: that is cheaper than to go over everything twice.
func open(b []byte, field protowire.Number) (opened []byte, start int) {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return b, len(b)
}

func shut(b []byte, start int) []byte {
	size := len(b) - start
	width := protowire.SizeVarint(uint64(size))
	b = slices.Grow(b, width)[:len(b)+width]
	copy(b[start+width:], b[start:start+size])
	protowire.AppendVarint(b[:start], uint64(size))
	return b
}

// otlpAnswer is what a collector says of a request that it took.
type otlpAnswer struct {
	rejected int64 // spans
	message  string
}

// readAnswer reads an ExportTraceServiceResponse.
func readAnswer(b []byte) (otlpAnswer, error) {
	var a otlpAnswer
	err := eachField(b, func(f field) error {
		if !f.is(responsePartialSuccess, protowire.BytesType) {
			return nil
		}
		return eachField(f.content, func(f field) error {
			switch {
			case f.is(partialRejected, protowire.VarintType):
				a.rejected = max(0, int64(f.n))
			case f.is(partialMessage, protowire.BytesType):
				a.message = string(f.content)
			}
			return nil
		})
	})
	return a, err
}

// readRefusal reads the message of a google.rpc.Status.
func readRefusal(b []byte) (message string, err error) {
	err = eachField(b, func(f field) error {
		if f.is(rpcStatusMessage, protowire.BytesType) {
			message = string(f.content)
		}
		return nil
	})
	return message, err
}

// field is one of a message: a number, bytes, or, of any other kind, neither.
type field struct {
	number  protowire.Number
	kind    protowire.Type
	n       uint64
	content []byte
}

func (f field) is(number protowire.Number, kind protowire.Type) bool {
	return f.number == number && f.kind == kind
}

// eachField calls visit with each field of a message.
func eachField(b []byte, visit func(field) error) error {
	for len(b) > 0 {
		var f field
		var size int
		if f.number, f.kind, size = protowire.ConsumeTag(b); size < 0 {
			return fmt.Errorf("reading a field's tag: %w", protowire.ParseError(size))
		}
		b = b[size:]
		switch f.kind {
		case protowire.VarintType:
			f.n, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.content, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(f.number, f.kind, b)
		}
		if size < 0 {
			return fmt.Errorf("reading field %d: %w", f.number, protowire.ParseError(size))
		}
		b = b[size:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}
