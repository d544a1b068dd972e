package trace

import (
	"bytes"
	"strings"
	"sync"
)

// header is a field that a Tracer knows.
type header uint8

const (
	hTraceparent header = iota
	hB3
	hB3Trace
	hB3Span
	hB3Parent
	hB3Sampled
	hB3Flags
	hUber
	hRequestID
	hSource
	hHost
	hUserAgent
	hCookie
	hContentType
	hRoute
	headerCount
)

// headerNames are the names in lower case of the fields that have fixed ones.
var headerNames = [headerCount]string{
	hTraceparent: "traceparent",
	hB3:          "b3",
	hB3Trace:     "x-b3-traceid",
	hB3Span:      "x-b3-spanid",
	hB3Parent:    "x-b3-parentspanid",
	hB3Sampled:   "x-b3-sampled",
	hB3Flags:     "x-b3-flags",
	hUber:        "uber-trace-id",
	hHost:        "host",
	hUserAgent:   "user-agent",
	hCookie:      "cookie",
	hContentType: "content-type",
}

// headerIndex finds fields by their names, be they upper or lower case.
type headerIndex struct {
	byLength [][]listed
	readers  sync.Pool
}

// listed is what a field's name stands for.
type listed struct {
	name  string // in lower case
	known header // headerCount: none
	tag   string // of HeaderTags; "": none
}

func newHeaderIndex(s Settings) *headerIndex {
	names := map[string]listed{}
	for h, name := range headerNames {
		names[name] = listed{known: header(h)}
	}
	names[strings.ToLower(s.RequestIDHeader)] = listed{known: hRequestID}
	names[strings.ToLower(s.SourceHeader)] = listed{known: hSource}
	names[strings.ToLower(s.Routing.Header)] = listed{known: hRoute}
	for name, tag := range s.HeaderTags {
		l, ok := names[name]
		if l.tag = valid(tag); !ok {
			l.known = headerCount
		}
		names[name] = l
	}
	delete(names, "") // of those that have none
	x := &headerIndex{}
	for name, l := range names {
		for len(x.byLength) <= len(name) {
			x.byLength = append(x.byLength, nil)
		}
		l.name = name
		x.byLength[len(name)] = append(x.byLength[len(name)], l)
	}
	x.readers.New = func() any { return newReader(x) }
	return x
}

// fields holds the values of the known fields of one head; they alias it. A
// field that is there but empty is not nil.
type fields struct {
	value  [headerCount][]byte
	twice  [headerCount]bool
	tagged []attribute // what HeaderTags names
}

// read gathers the known fields. With tagged, it also gathers those that
// HeaderTags names.
func (x *headerIndex) read(head Head, tagged bool) fields {
	r := x.readers.Get().(*reader)
	r.tagging = tagged
	head.Fields(r.visit)
	f := r.fields
	r.fields = fields{}
	x.readers.Put(r)
	return f
}

// reader reads heads, one after the other: what is called for each field is made
// once, for it outlives the call as far as the compiler can tell.
type reader struct {
	fields
	index   *headerIndex
	tagging bool
	visit   func(name, value []byte) bool
}

func newReader(x *headerIndex) *reader {
	r := &reader{index: x}
	r.visit = r.field
	return r
}

func (r *reader) field(name, value []byte) (more bool) {
	if len(name) >= len(r.index.byLength) {
		return true
	}
	for i := range r.index.byLength[len(name)] {
		if l := &r.index.byLength[len(name)][i]; equalLower(name, l.name) {
			r.note(l, value)
			break
		}
	}
	return true
}

func (r *reader) note(l *listed, value []byte) {
	if r.tagging && l.tag != "" {
		r.tagged = append(r.tagged, attribute{key: l.tag, text: clip(value)})
	}
	switch h := l.known; {
	case h == headerCount:
	case r.value[h] != nil:
		r.twice[h] = true
	case value == nil:
		r.value[h] = []byte{}
	default:
		r.value[h] = value
	}
}

// equalLower reports whether name, in lower case, is lower, which has its length.
func equalLower(name []byte, lower string) bool {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// cookies gathers the tags that CookieTags names; they alias value.
func (t *Tracer) cookies(value []byte) (tags []attribute) {
	if len(t.settings.CookieTags) == 0 {
		return nil
	}
	for item := range bytes.SplitSeq(value, []byte{';'}) {
		name, content, ok := bytes.Cut(bytes.TrimSpace(item), []byte{'='})
		if tag := t.settings.CookieTags[string(name)]; ok && tag != "" {
			tags = append(tags, attribute{key: valid(tag), text: clip(content)})
		}
	}
	return tags
}

// maxTag bounds a tag's value, in bytes: enough for a long URL, and the bound
// on what one request can cost a span's memory.
const maxTag = 1024

func clip(value []byte) []byte { return value[:min(len(value), maxTag)] }
