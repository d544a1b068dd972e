package trace

import (
	"fmt"
	"net/netip"
	"time"
)

// record is a finished span as a Tracer notes it: a Span whose texts lie in
// memory that the next requests use again. So it is valid only during the call
// that it is given to, and nothing in this package that is not done with it then
// is given one: an exporter that keeps spans gets a Span of its own.
type record struct {
	context  Context
	name     string
	start    time.Time
	duration time.Duration
	tags     []attribute
	room     []byte // of the tags' texts that are nobody else's
}

// attribute is a Tag without memory of its own.
type attribute struct {
	key    string // valid UTF-8
	kind   kind
	text   []byte
	number int64 // a truth is 0 or 1
}

// kind says which of an attribute's values counts.
type kind uint8

const (
	ofText kind = iota
	ofNumber
	ofTruth
)

// encoding is an Exporter that has encoded a span when record returns.
type encoding interface{ record(*record) }

func (r *record) text(key string, value []byte) {
	r.tags = append(r.tags, attribute{key: key, text: value})
}

// word notes a text that is a string, and so must be copied to be bytes.
func (r *record) word(key, value string) {
	from := len(r.room)
	r.room = append(r.room, value...)
	r.text(key, r.room[from:])
}

func (r *record) address(key string, a netip.AddrPort) {
	from := len(r.room)
	r.room = netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).AppendTo(r.room)
	r.text(key, r.room[from:])
}

func (r *record) number(key string, value int64) {
	r.tags = append(r.tags, attribute{key: key, kind: ofNumber, number: value})
}

func (r *record) truth(key string, value bool) {
	a := attribute{key: key, kind: ofTruth}
	if value {
		a.number = 1
	}
	r.tags = append(r.tags, a)
}

// span returns a copy that may be kept.
func (r *record) span() Span {
	s := Span{Context: r.context, Name: r.name, Start: r.start, Duration: r.duration, Tags: make([]Tag, len(r.tags))}
	for i := range r.tags {
		a := &r.tags[i]
		s.Tags[i].Key = a.key
		switch a.kind {
		case ofNumber:
			s.Tags[i].Value = a.number
		case ofTruth:
			s.Tags[i].Value = a.number != 0
		default:
			s.Tags[i].Value = string(a.text)
		}
	}
	return s
}

// recordOf returns a span as a record.
func recordOf(s Span) *record {
	r := &record{context: s.Context, name: s.Name, start: s.Start, duration: s.Duration, tags: make([]attribute, 0, len(s.Tags))}
	for _, tag := range s.Tags {
		key := valid(tag.Key)
		switch v := tag.Value.(type) {
		case bool:
			r.truth(key, v)
		case int64:
			r.number(key, v)
		case string:
			r.word(key, v)
		default: // what JAEGER_TAGS has
			r.word(key, fmt.Sprint(v))
		}
	}
	return r
}
