package trace

import (
	"strconv"
	"strings"
)

// Format is a way to write a span's context into headers.
type Format string

// The formats, by the names that NETRA_PROPAGATION takes.
const (
	W3C     Format = "w3c"     // traceparent
	Jaeger  Format = "jaeger"  // uber-trace-id
	B3      Format = "b3"      // b3, the single header
	B3Multi Format = "b3multi" // X-B3-TraceId and its like
)

// extracted is what a request's headers say about its parent. A parent that is
// not Valid may still carry a decision on sampling.
type extracted struct {
	parent  Context
	decided bool // parent.Sampled was said, not just zero
}

// extract reads the parent from the first format that names one. A header that
// comes twice or does not parse says nothing.
func extract(f *fields) extracted {
	decision := extracted{}
	for _, read := range [...]func(*fields) (extracted, bool){readW3C, readB3, readB3Multi, readUber} {
		e, ok := read(f)
		if !ok {
			continue
		}
		if e.parent.Valid() {
			return e
		}
		decision = e
	}
	return decision
}

func (f *fields) once(h header) string {
	if f.twice[h] {
		return ""
	}
	return string(f.value[h])
}

// readW3C reads traceparent, W3C Trace Context level 1; of later versions the
// part that they share with it.
func readW3C(f *fields) (extracted, bool) {
	v := f.once(hTraceparent)
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || v[:2] == "ff" || strings.ToLower(v[:55]) != v[:55] {
		return extracted{}, false
	}
	if v[:2] == "00" && len(v) != 55 || len(v) > 55 && v[55] != '-' {
		return extracted{}, false
	}
	if _, ok := hex(v[:2]); !ok {
		return extracted{}, false
	}
	c, ok := ids(v[3:35], v[36:52])
	flags, flagsOK := hex(v[53:55])
	c.Sampled = flags&1 != 0
	return extracted{c, true}, ok && flagsOK && c.Valid()
}

// readB3 reads the single header: trace-span, trace-span-sampled,
// trace-span-sampled-parent, or the decision alone.
func readB3(f *fields) (extracted, bool) {
	v := f.once(hB3)
	if v == "" {
		return extracted{}, false
	}
	parts := strings.Split(v, "-")
	if len(parts) == 1 {
		sampled, known := b3Sampled(v)
		return extracted{Context{Sampled: sampled}, known}, known
	}
	if len(parts) > 4 {
		return extracted{}, false
	}
	c, ok := ids(parts[0], parts[1])
	e := extracted{parent: c}
	if len(parts) > 2 {
		e.parent.Sampled, e.decided = b3Sampled(parts[2])
		ok = ok && e.decided
	}
	return e, ok && c.Valid()
}

func readB3Multi(f *fields) (extracted, bool) {
	var e extracted
	e.parent.Sampled, e.decided = b3Sampled(f.once(hB3Sampled))
	if f.once(hB3Flags) == "1" { // debug
		e.parent.Sampled, e.decided = true, true
	}
	c, ok := ids(f.once(hB3Trace), f.once(hB3Span))
	if !ok {
		return e, e.decided
	}
	c.Sampled = e.parent.Sampled
	e.parent = c
	return e, true
}

func b3Sampled(v string) (sampled, known bool) {
	switch v {
	case "1", "d", "true", "True":
		return true, true
	case "0", "false", "False":
		return false, true
	}
	return false, false
}

// readUber reads Jaeger's own header, trace:span:parent:flags, whose colons
// some clients escape and whose leading zeros some leave out.
func readUber(f *fields) (extracted, bool) {
	v := f.once(hUber)
	if v == "" {
		return extracted{}, false
	}
	v = strings.ReplaceAll(strings.ReplaceAll(v, "%3A", ":"), "%3a", ":")
	parts := strings.Split(v, ":")
	if len(parts) != 4 {
		return extracted{}, false
	}
	c, ok := ids(parts[0], parts[1])
	flags, flagsOK := hex(parts[3])
	c.Sampled = flags&1 != 0
	return extracted{c, true}, ok && flagsOK && c.Valid()
}

// ids reads a trace's and a span's identifier, of up to 32 and 16 hexadecimal
// digits.
func ids(trace, span string) (c Context, ok bool) {
	if len(trace) > 32 {
		return Context{}, false
	}
	high, okHigh := uint64(0), true
	if cut := len(trace) - 16; cut > 0 {
		high, okHigh = hex(trace[:cut])
		trace = trace[cut:]
	}
	low, okLow := hex(trace)
	id, okSpan := hex(span)
	return Context{TraceHigh: high, TraceLow: low, Span: id}, okHigh && okLow && okSpan
}

func hex(v string) (uint64, bool) {
	if len(v) == 0 || len(v) > 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(v, 16, 64)
	return n, err == nil
}

// inject lists the header fields that carry c: those that the request has are
// rewritten, those of the configured formats are added.
func (t *Tracer) inject(f *fields, c Context) []Edit {
	edits := make([]Edit, 0, 4)
	wants := func(format Format, h header) bool {
		if f.value[h] != nil {
			return true
		}
		for _, have := range t.settings.Propagation {
			if have == format {
				return true
			}
		}
		return false
	}
	set := func(h header, name, value string) {
		edits = append(edits, Edit{name, value, f.value[h] != nil})
	}
	// One text holds all parts: TRACE:SPAN:PARENT:SAMPLED.
	var b [32 + 1 + 16 + 1 + 16 + 2]byte
	text := appendHex16(appendHex16(b[:0], c.TraceHigh), c.TraceLow)
	text = appendHex16(append(text, ':'), c.Span)
	text = appendHex16(append(text, ':'), c.Parent)
	if text = append(text, ":0"...); c.Sampled {
		text[len(text)-1] = '1'
	}
	uber := string(text)
	trace, span, parent, sampled := uber[:32], uber[33:49], uber[50:66], uber[67:]
	if wants(W3C, hTraceparent) {
		set(hTraceparent, "traceparent", "00-"+trace+"-"+span+"-0"+sampled)
	}
	if wants(Jaeger, hUber) {
		set(hUber, "uber-trace-id", uber)
	}
	if wants(B3, hB3) {
		value := trace + "-" + span + "-" + sampled
		if c.Parent != 0 {
			value += "-" + parent
		}
		set(hB3, "b3", value)
	}
	// A decision alone (X-B3-Sampled: 0) is also a use of the format.
	if wants(B3Multi, hB3Trace) || f.value[hB3Sampled] != nil || f.value[hB3Flags] != nil {
		set(hB3Trace, "X-B3-TraceId", trace)
		set(hB3Span, "X-B3-SpanId", span)
		if c.Parent != 0 || f.value[hB3Parent] != nil {
			set(hB3Parent, "X-B3-ParentSpanId", parent)
		}
		if f.value[hB3Flags] == nil || f.value[hB3Sampled] != nil {
			set(hB3Sampled, "X-B3-Sampled", sampled)
		}
	}
	return edits
}
