package trace

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Exporter takes finished spans to where they are kept. Its methods are called
// on the path of the application's traffic: they must not block, and drop what
// they cannot take.
type Exporter interface {
	// Sample decides whether a new trace is kept; root is its first span.
	Sample(root Context, name string) bool
	// Export takes a finished span, whose context is sampled.
	Export(Span)
}

// Span is a finished span.
type Span struct {
	Context  Context
	Name     string
	Start    time.Time
	Duration time.Duration
	Tags     []Tag
}

// Tag is a property of a span. Value is a string, a bool or an int64.
type Tag struct {
	Key   string
	Value any
}

// text is what a name or a value is in a message.
type text interface{ string | []byte }

// valid replaces what is not UTF-8 in a name or a value: they come from the wire,
// and are cut between bytes. No back end keeps other text as it is; one of OTLP
// refuses the whole batch for it.
func valid[T text](s T) T {
	ok := false
	switch s := any(s).(type) {
	case string:
		ok = utf8.ValidString(s)
	case []byte:
		ok = utf8.Valid(s)
	}
	if ok {
		return s
	}
	return T(strings.ToValidUTF8(string(s), "\uFFFD"))
}

// Tags of the process that a span comes from, named as OpenTelemetry's resource
// attributes are.
const (
	TagNamespace = "k8s.namespace.name"
	TagPod       = "k8s.pod.name"
)

// Discard is the Exporter that keeps nothing. With it no trace headers are
// written either: they would say that a trace is not sampled, and the
// application's own tracing would believe it.
type Discard struct{}

// Sample implements Exporter.
func (Discard) Sample(Context, string) bool { return false }

// Export implements Exporter.
func (Discard) Export(Span) {}
