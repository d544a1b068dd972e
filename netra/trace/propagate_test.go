package trace

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

// headers makes a field sequence of "Name: value" lines.
func headers(lines ...string) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ":")
			if !yield([]byte(name), []byte(strings.TrimSpace(value))) {
				return
			}
		}
	}
}

func TestExtract(t *testing.T) {
	full := func(sampled string) string { return fmt.Sprintf("%s %s %s", traceID, spanID, sampled) }
	short := "0000000000000000" + traceID[16:] + " " + spanID + " sampled"
	tests := []struct {
		name, lines, want string
	}{
		{"none", "Host: a", "nothing"},
		{"w3c", "Traceparent: 00-" + traceID + "-" + spanID + "-01", full("sampled")},
		{"w3c not sampled", "traceparent: 00-" + traceID + "-" + spanID + "-00", full("not")},
		{"w3c later version", "traceparent: cc-" + traceID + "-" + spanID + "-01-what", full("sampled")},
		{"w3c later version, longer", "traceparent: cc-" + traceID + "-" + spanID + "-01what", "nothing"},
		{"w3c version ff", "traceparent: ff-" + traceID + "-" + spanID + "-01", "nothing"},
		{"w3c with more", "traceparent: 00-" + traceID + "-" + spanID + "-01-x", "nothing"},
		{"w3c upper case", "traceparent: 00-" + strings.ToUpper(traceID) + "-" + spanID + "-01", "nothing"},
		{"w3c zero trace", "traceparent: 00-" + strings.Repeat("0", 32) + "-" + spanID + "-01", "nothing"},
		{"w3c zero span", "traceparent: 00-" + traceID + "-" + strings.Repeat("0", 16) + "-01", "nothing"},
		{"w3c not hex", "traceparent: 00-" + strings.Repeat("g", 32) + "-" + spanID + "-01", "nothing"},
		{"w3c sign", "traceparent: 00-" + traceID + "-+" + spanID[1:] + "-01", "nothing"},
		{"w3c twice", "traceparent: 00-" + traceID + "-" + spanID + "-01|traceparent: 00-" + traceID + "-" + spanID + "-01", "nothing"},
		{"b3", "b3: " + traceID + "-" + spanID + "-1-05e3ac9a4f6e3b90", full("sampled")},
		{"b3 debug", "B3: " + traceID + "-" + spanID + "-d", full("sampled")},
		{"b3 not sampled", "b3: " + traceID + "-" + spanID + "-0", full("not")},
		{"b3 undecided", "b3: " + traceID + "-" + spanID, full("undecided")},
		{"b3 short", "b3: " + traceID[16:] + "-" + spanID + "-1", short},
		{"b3 decision alone", "b3: 0", "nothing not"},
		{"b3 malformed", "b3: x-y-z", "nothing"},
		{"b3 multi", "X-B3-TraceId: " + traceID + "|X-B3-SpanId: " + spanID + "|X-B3-Sampled: 1", full("sampled")},
		{"b3 multi short", "X-B3-TraceId: " + traceID[16:] + "|X-B3-SpanId: " + spanID + "|X-B3-Sampled: true", short},
		{"b3 multi flags", "X-B3-TraceId: " + traceID + "|X-B3-SpanId: " + spanID + "|X-B3-Flags: 1", full("sampled")},
		{"b3 multi undecided", "X-B3-TraceId: " + traceID + "|X-B3-SpanId: " + spanID, full("undecided")},
		{"b3 multi decision alone", "X-B3-Sampled: 0", "nothing not"},
		{"uber", "uber-trace-id: " + traceID + ":" + spanID + ":0:1", full("sampled")},
		{"uber escaped", "Uber-Trace-Id: " + traceID + "%3A" + spanID + "%3A0%3A3", full("sampled")},
		{"uber not sampled", "uber-trace-id: " + traceID + ":" + spanID + ":1234:0", full("not")},
		{"uber without leading zeros", "uber-trace-id: 1a:2b:0:1", "0000000000000000000000000000001a 000000000000002b sampled"},
		{"uber malformed", "uber-trace-id: 1a:2b:0", "nothing"},
		{"w3c before uber", "uber-trace-id: 1:2:0:1|traceparent: 00-" + traceID + "-" + spanID + "-00", full("not")},
		{"uber where w3c is malformed", "traceparent: 00|uber-trace-id: " + traceID + ":" + spanID + ":0:1", full("sampled")},
		{"a parent before a decision", "b3: 0|uber-trace-id: " + traceID + ":" + spanID + ":0:1", full("sampled")},
	}
	index := newHeaderIndex(Settings{RequestIDHeader: "X-Request-Id", SourceHeader: "X-Source"})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := index.read(Head{Fields: headers(strings.Split(tt.lines, "|")...)}, false)
			e := extract(&f)
			got := "nothing"
			if e.parent.Valid() {
				got = fmt.Sprintf("%016x%016x %016x", e.parent.TraceHigh, e.parent.TraceLow, e.parent.Span)
			}
			switch {
			case e.decided && e.parent.Sampled:
				got += " sampled"
			case e.decided:
				got += " not"
			case e.parent.Valid():
				got += " undecided"
			}
			if got != tt.want {
				t.Errorf("extract = %s, want %s", got, tt.want)
			}
		})
	}
}

// recorder is an Exporter that keeps the spans, and samples as told.
type recorder struct {
	sample bool
	spans  []Span
}

func (r *recorder) Sample(Context, string) bool { return r.sample }
func (r *recorder) Export(s Span)               { r.spans = append(r.spans, s) }

func newTracer(change func(*Settings)) (*Tracer, *recorder) {
	s := Settings{
		RequestIDHeader: "X-Request-Id", SourceHeader: "X-Source", Propagation: []Format{W3C, Jaeger},
		Expiration: 5 * time.Second, CleanupInterval: time.Second, Namespace: "shop",
	}
	if change != nil {
		change(&s)
	}
	r := &recorder{sample: true}
	return New(s, r, metrics.New("")), r
}

func head(method, target string, lines ...string) Head {
	return Head{
		Method: []byte(method), Target: []byte(target), Fields: headers(lines...),
		Client: netip.MustParseAddrPort("10.1.2.3:4567"), Server: netip.MustParseAddrPort("[fd00::1]:80"),
	}
}

// written lists the edits' names, "=" before those that replace.
func written(edits []Edit) string {
	var names []string
	for _, e := range edits {
		name := e.Name
		if e.Replace {
			name = "=" + name
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestInject(t *testing.T) {
	const multi = "X-B3-TraceId: " + traceID + "|X-B3-SpanId: " + spanID + "|X-B3-Sampled: 1|"
	tests := []struct {
		name, formats, lines, want string
	}{
		{"new", "w3c jaeger", "X-Request-Id: r", "traceparent uber-trace-id"},
		{"no request id", "w3c", "", "X-Request-Id traceparent"},
		{"empty request id", "w3c", "X-Request-Id:", "=X-Request-Id traceparent"},
		{"all", "w3c jaeger b3 b3multi", "X-Request-Id: r", "X-B3-Sampled X-B3-SpanId X-B3-TraceId b3 traceparent uber-trace-id"},
		{"there", "w3c jaeger", "X-Request-Id: r|traceparent: 00-" + traceID + "-" + spanID + "-01", "=traceparent uber-trace-id"},
		{"there, not configured", "w3c", "X-Request-Id: r|" + multi, "=X-B3-Sampled =X-B3-SpanId =X-B3-TraceId X-B3-ParentSpanId traceparent"},
		{"malformed is rewritten", "jaeger", "X-Request-Id: r|traceparent: x", "=traceparent uber-trace-id"},
		{"decision alone", "w3c", "X-Request-Id: r|b3: 0", "=b3 traceparent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracer, _ := newTracer(func(s *Settings) {
				s.Propagation = nil
				for _, f := range strings.Fields(tt.formats) {
					s.Propagation = append(s.Propagation, Format(f))
				}
			})
			request, edits := tracer.Begin(Inbound, head("GET", "/", strings.Split(tt.lines, "|")...))
			if got := written(edits); got != tt.want {
				t.Errorf("edits %s, want %s", got, tt.want)
			}
			// What is written is understood, and names the new span.
			for _, h := range []string{"traceparent", "uber-trace-id", "b3"} {
				for _, e := range edits {
					if e.Name != h {
						continue
					}
					f := tracer.headers.read(Head{Fields: headers(e.Name + ": " + string(e.Value))}, false)
					got, want := extract(&f).parent, request.context
					if got.Parent = want.Parent; got != want {
						t.Errorf("%s: %s reads as %+v, want %+v", e.Name, e.Value, got, want)
					}
				}
			}
		})
	}
}

func TestSamplingIsDecidedOnce(t *testing.T) {
	tests := []struct {
		name, line string
		sampler    bool
		want       bool
	}{
		{"the sampler decides for a root", "A: b", true, true},
		{"and against", "A: b", false, false},
		{"a parent's decision stays", "traceparent: 00-" + traceID + "-" + spanID + "-01", false, true},
		{"also against", "traceparent: 00-" + traceID + "-" + spanID + "-00", true, false},
		{"a parent without one leaves it to the sampler", "b3: " + traceID + "-" + spanID, true, true},
		{"a decision without a parent", "b3: 0", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracer, exported := newTracer(nil)
			exported.sample = tt.sampler
			request, edits := tracer.Begin(Inbound, head("GET", "/", tt.line))
			request.End(Result{})
			for _, e := range edits {
				if e.Name == "traceparent" && strings.HasSuffix(string(e.Value), "-01") != tt.want {
					t.Errorf("traceparent = %s, want sampled %v", e.Value, tt.want)
				}
			}
			if got := len(exported.spans) == 1; got != tt.want {
				t.Errorf("exported %v, want %v", got, tt.want)
			}
		})
	}
}
