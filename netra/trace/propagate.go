package trace

import (
	"bytes"
	"slices"
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
	var decision extracted
	for format := range formats {
		e, ok := f.context(format)
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

// formats is how many there are.
const formats = 4

// context reads one format. It is not a table of functions, for what these are
// given would have to come from the heap.
func (f *fields) context(format int) (extracted, bool) {
	switch format {
	case 0:
		return readW3C(f)
	case 1:
		return readB3(f)
	case 2:
		return readB3Multi(f)
	default:
		return readUber(f)
	}
}

// once returns the value of a field that comes once.
func (f *fields) once(h header) []byte {
	if f.twice[h] {
		return nil
	}
	return f.value[h]
}

// readW3C reads traceparent, W3C Trace Context level 1; of later versions the
// part that they share with it.
func readW3C(f *fields) (extracted, bool) {
	v := f.once(hTraceparent)
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || string(v[:2]) == "ff" || bytes.ContainsAny(v[:55], "ABCDEF") {
		return extracted{}, false
	}
	if string(v[:2]) == "00" && len(v) != 55 || len(v) > 55 && v[55] != '-' {
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

// maxParts is of how many parts a context consists, in one header, at most.
const maxParts = 4

// split returns the parts of v between separators, and their number, which is
// above maxParts where there are more.
func split(v []byte, separator byte) (parts [maxParts][]byte, n int) {
	for more := true; more; n++ {
		if n == maxParts {
			return parts, n + 1
		}
		parts[n], v, more = bytes.Cut(v, []byte{separator})
	}
	return parts, n
}

// readB3 reads the single header: trace-span, trace-span-sampled,
// trace-span-sampled-parent, or the decision alone.
func readB3(f *fields) (extracted, bool) {
	v := f.once(hB3)
	if len(v) == 0 {
		return extracted{}, false
	}
	parts, n := split(v, '-')
	if n == 1 {
		sampled, known := b3Sampled(v)
		return extracted{Context{Sampled: sampled}, known}, known
	}
	if n > maxParts {
		return extracted{}, false
	}
	c, ok := ids(parts[0], parts[1])
	e := extracted{parent: c}
	if n > 2 {
		e.parent.Sampled, e.decided = b3Sampled(parts[2])
		ok = ok && e.decided
	}
	return e, ok && c.Valid()
}

func readB3Multi(f *fields) (extracted, bool) {
	var e extracted
	e.parent.Sampled, e.decided = b3Sampled(f.once(hB3Sampled))
	if string(f.once(hB3Flags)) == "1" { // debug
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

func b3Sampled(v []byte) (sampled, known bool) {
	switch string(v) {
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
	if len(v) == 0 {
		return extracted{}, false
	}
	if bytes.IndexByte(v, '%') >= 0 {
		v = bytes.ReplaceAll(bytes.ReplaceAll(v, []byte("%3A"), []byte(":")), []byte("%3a"), []byte(":"))
	}
	parts, n := split(v, ':')
	if n != maxParts {
		return extracted{}, false
	}
	c, ok := ids(parts[0], parts[1])
	flags, flagsOK := hex(parts[3])
	c.Sampled = flags&1 != 0
	return extracted{c, true}, ok && flagsOK && c.Valid()
}

// ids reads a trace's and a span's identifier, of up to 32 and 16 hexadecimal
// digits.
func ids(trace, span []byte) (c Context, ok bool) {
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

func hex(v []byte) (n uint64, ok bool) {
	if len(v) == 0 || len(v) > 16 {
		return 0, false
	}
	for _, c := range v {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | uint64(c)
	}
	return n, true
}

// inject adds the header fields that carry the request's context to its edits:
// those that the request has are rewritten, those of the configured formats are
// added.
func (t *Tracer) inject(r *Request, f *fields) {
	c := r.context
	wants := func(format Format, h header) bool {
		return f.value[h] != nil || slices.Contains(t.settings.Propagation, format)
	}
	set := func(h header, name string, value []byte) {
		r.edits = append(r.edits, Edit{name, value, f.value[h] != nil})
	}
	// One text holds all parts: TRACE:SPAN:PARENT:SAMPLED.
	from := len(r.text)
	r.text = appendHex16(appendHex16(r.text, c.TraceHigh), c.TraceLow)
	r.text = appendHex16(append(r.text, ':'), c.Span)
	r.text = appendHex16(append(r.text, ':'), c.Parent)
	if r.text = append(r.text, ":0"...); c.Sampled {
		r.text[len(r.text)-1] = '1'
	}
	uber := r.text[from:]
	trace, span, parent, sampled := uber[:32], uber[33:49], uber[50:66], uber[67:]
	if wants(W3C, hTraceparent) {
		set(hTraceparent, "traceparent", r.joined([]byte("00"), trace, span, []byte{'0', sampled[0]}))
	}
	if wants(Jaeger, hUber) {
		set(hUber, "uber-trace-id", uber)
	}
	if wants(B3, hB3) {
		parts := [...][]byte{trace, span, sampled, parent}
		n := len(parts)
		if c.Parent == 0 {
			n--
		}
		set(hB3, "b3", r.joined(parts[:n]...))
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
}

// joined returns the parts with a dash between them, in the request's memory.
func (r *Request) joined(parts ...[]byte) []byte {
	from := len(r.text)
	for i, part := range parts {
		if i > 0 {
			r.text = append(r.text, '-')
		}
		r.text = append(r.text, part...)
	}
	return r.text[from:]
}
