package trace

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/formicarium/formicarium/internal/testutil"
)

func TestOTLPRequest(t *testing.T) {
	start := time.Unix(1_700_000_000, 123_456_789)
	server := Context{TraceHigh: 0x0102030405060708, TraceLow: 0x090a0b0c0d0e0f10, Span: 0x1112131415161718, Sampled: true}
	client := server
	client.Span, client.Parent = 0x2122232425262728, server.Span
	encoder := newOTLPEncoder([]Tag{{"service.name", "orders"}, {TagNamespace, "shop"}, {TagPod, "orders-1"}}, "v1.2.3")
	b := encoder.request(nil, encoded([]Span{
		{server, "GET /orders/{id}", start, 1500 * time.Microsecond,
			[]Tag{{"span.kind", "server"}, {"http.method", "GET"}, {"http.response_size", int64(-1)}, {"error", false}}},
		{client, "GET /stock/{id}", start.Add(time.Millisecond), time.Nanosecond,
			[]Tag{{"span.kind", "client"}, {"error.reason", ReasonClosed}, {"error", true}}},
		{Context{TraceLow: 1, Span: 1, Sampled: true}, strings.Repeat("long ", 100), start, 0, []Tag{{"error", true}, {"http.target", strings.Repeat("/", 1<<14)}}},
	}))
	_, text := decode(t, b)
	text = []byte(strings.ReplaceAll(string(text), strings.Repeat("/", 1<<14), "/ × 16384"))
	testutil.Golden(t, "testdata/otlp.golden.json", text)
}

// A collector refuses a message whose strings are not UTF-8, and with it all
// other spans of the batch.
func TestOTLPRequestIsUTF8(t *testing.T) {
	const bad = "caf\xc3"
	b := newOTLPEncoder([]Tag{{"service.name", bad}}, bad).request(nil, encoded([]Span{
		{Context: child(root()), Name: bad, Tags: []Tag{{bad, bad}, {"error.reason", bad}, {"error", true}}}}))
	request, text := decode(t, b)
	if got := request.names()[0]; got != "caf\uFFFD" {
		t.Errorf("name %q", got)
	}
	if n := strings.Count(string(text), "caf\uFFFD"); n != 7 {
		t.Errorf("%d of 7 strings are whole:\n%s", n, text)
	}
}

// FuzzOTLPAnswer reads what a collector may answer, and compares it with what
// the protocol buffers' own library makes of it.
func FuzzOTLPAnswer(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, body []byte, after string) {
		if d := retryAfter(after, now); d < 0 || d > maxRetryAfter {
			t.Errorf("Retry-After %q is %v", after, d)
		}
		answer, err := readAnswer(body)
		if answer.rejected < 0 {
			t.Errorf("%d spans rejected", answer.rejected)
		}
		message, refusalErr := readRefusal(body)
		response := messageOf(t, "ExportTraceServiceResponse")
		if proto.Unmarshal(body, response) == nil {
			partial := fieldOf(response, "partial_success").Message()
			want := otlpAnswer{max(0, fieldOf(partial, "rejected_spans").Int()), fieldOf(partial, "error_message").String()}
			if answer != want || err != nil {
				t.Errorf("read %+v, %v, want %+v", answer, err, want)
			}
		}
		status := messageOf(t, "RPCStatus")
		if proto.Unmarshal(body, status) == nil {
			if want := fieldOf(status, "message").String(); message != want || refusalErr != nil {
				t.Errorf("read %q, %v, want %q", message, refusalErr, want)
			}
		}
	})
}

func fieldOf(m protoreflect.Message, name protoreflect.Name) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(name))
}

func BenchmarkOTLPRequest(b *testing.B) {
	encoder := newOTLPEncoder([]Tag{{"service.name", "orders"}}, "v1")
	spans := make([]*record, 512)
	for i := range spans {
		spans[i] = recordOf(benchmarkSpan())
	}
	var waiting batch
	var message []byte
	b.ReportAllocs()
	for b.Loop() {
		waiting.reset()
		for _, span := range spans {
			waiting.add(appendSpan, span)
		}
		message = encoder.request(message[:0], waiting.bytes)
	}
	b.SetBytes(int64(len(message)))
}

// encoded returns the spans as they stand in a message.
func encoded(spans []Span) (b []byte) {
	for _, span := range spans {
		b = appendSpan(b, recordOf(span))
	}
	return b
}

// benchmarkSpan is one as a Tracer makes it.
func benchmarkSpan() Span {
	return Span{child(root()), "GET /orders/{id}", time.Now(), time.Millisecond, []Tag{
		{"span.kind", "server"}, {"component", "netra"}, {"http.method", "GET"}, {"http.target", "/orders/17?full=true"}, {"http.path", "/orders/17"},
		{"peer.address", "10.1.2.3:40000"}, {"http.host", "orders.shop.svc.cluster.local"}, {"http.user_agent", "curl/8.5.0"},
		{"http.request_id", "0b5d3c9a-7f0e-4c55-9d0a-5be2b8a1c111"}, {"peer.service", "front"},
		{"http.request_size", int64(0)}, {"http.response_size", int64(4096)}, {"http.status_code", int64(200)},
	}}
}
