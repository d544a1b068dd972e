package trace

import (
	"bytes"
	"strings"
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

// headerIndex finds a field by its name in lower case.
type headerIndex struct {
	known map[string]header
	tags  map[string]string
}

func newHeaderIndex(s Settings) headerIndex {
	index := headerIndex{known: map[string]header{}, tags: s.HeaderTags}
	for h, name := range headerNames {
		if name != "" {
			index.known[name] = header(h)
		}
	}
	index.known[strings.ToLower(s.RequestIDHeader)] = hRequestID
	index.known[strings.ToLower(s.SourceHeader)] = hSource
	if s.Routing.Header != "" {
		index.known[strings.ToLower(s.Routing.Header)] = hRoute
	}
	return index
}

// fields holds the values of the known fields of one head; they alias it. A
// field that is there but empty is not nil.
type fields struct {
	value [headerCount][]byte
	twice [headerCount]bool
	tags  []Tag
}

// read gathers the known fields. With tagged, it also gathers those that
// HeaderTags names.
func (x headerIndex) read(head Head, tagged bool) (f fields) {
	var lower [64]byte // longer names are none of ours, unless configured
	for name, value := range head.Fields {
		key := appendLower(lower[:0], name)
		if tagged {
			if tag, ok := x.tags[string(key)]; ok {
				f.tags = append(f.tags, Tag{tag, clip(value)})
			}
		}
		h, ok := x.known[string(key)]
		if !ok {
			continue
		}
		if f.value[h] != nil {
			f.twice[h] = true
			continue
		}
		if value == nil {
			value = []byte{}
		}
		f.value[h] = value
	}
	return f
}

func appendLower(dst, src []byte) []byte {
	for _, c := range src {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// cookies gathers the tags that CookieTags names.
func (t *Tracer) cookies(value []byte) (tags []Tag) {
	if len(t.settings.CookieTags) == 0 {
		return nil
	}
	for item := range bytes.SplitSeq(value, []byte{';'}) {
		name, content, ok := bytes.Cut(bytes.TrimSpace(item), []byte{'='})
		if tag := t.settings.CookieTags[string(name)]; ok && tag != "" {
			tags = append(tags, Tag{tag, clip(content)})
		}
	}
	return tags
}

// maxTag bounds a tag's value, in bytes: enough for a long URL, and the bound
// on what one request can cost a span's memory.
const maxTag = 1024

func clip(value []byte) string { return string(value[:min(len(value), maxTag)]) }
