package trace

import (
	"iter"
	"net/netip"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// forget is an Exporter that samples everything, encodes it as for a Jaeger agent
// and keeps nothing.
type forget struct{ Discard }

func (forget) Sample(Context, string) bool { return true }

func (forget) record(r *record) {
	var room [1024]byte
	appendJaegerSpan(room[:0], r)
}

// BenchmarkRequest is what a request costs from its head to its span's end,
// without the connection that it comes by.
func BenchmarkRequest(b *testing.B) {
	var fields [][2][]byte
	for _, f := range [][2]string{
		{"Host", "orders.shop.svc.cluster.local:8080"}, {"User-Agent", "curl/8.5"}, {"Accept", "*/*"},
		{"Accept-Encoding", "gzip, deflate"}, {"Content-Type", "application/json"}, {"X-Request-Id", "2f1c-77"},
	} {
		fields = append(fields, [2][]byte{[]byte(f[0]), []byte(f[1])})
	}
	var head Head
	head.Method, head.Target = []byte("GET"), []byte("/orders/4711?expand=items")
	head.Client, head.Server = netip.MustParseAddrPort("10.0.0.7:40212"), netip.MustParseAddrPort("10.0.0.9:8080")
	head.Fields = func() iter.Seq2[[]byte, []byte] {
		return func(yield func(name, value []byte) bool) {
			for _, f := range fields {
				if !yield(f[0], f[1]) {
					return
				}
			}
		}
	}()
	tracer := New(Settings{
		RequestIDHeader: "X-Request-Id", SourceHeader: "X-Source", Propagation: []Format{W3C, Jaeger},
		Expiration: time.Second, CleanupInterval: time.Second,
	}, forget{}, metrics.New(""))
	for _, direction := range []Direction{Inbound, Outbound} {
		b.Run(direction.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				request, _ := tracer.Begin(direction, head)
				request.Answered(200)
				request.End(Result{ResponseBytes: 1024})
			}
		})
	}
}

// BenchmarkPacket is what a span costs from its end to an agent's packet.
func BenchmarkPacket(b *testing.B) {
	e := newPacketEncoder("orders", []Tag{{TagNamespace, "shop"}, {TagPod, "orders-6d5f"}})
	spans := make([]*record, jaegerBatch)
	for i := range spans {
		spans[i] = recordOf(Span{Context: child(root()), Name: "GET /orders/{id}", Start: time.Now(), Duration: time.Millisecond, Tags: []Tag{
			{"span.kind", "server"}, {"component", "netra"}, {"http.method", "GET"}, {"http.target", "/orders/4711?expand=items"},
			{"http.path", "/orders/4711"}, {"peer.address", "10.0.0.7:40212"}, {"http.host", "orders:8080"}, {"http.user_agent", "curl/8.5"},
			{"http.request_id", "2f1c-77"}, {"http.request_size", int64(0)}, {"http.response_size", int64(1024)}, {"http.status_code", int64(200)},
		}})
	}
	b.ReportAllocs()
	var waiting batch
	for b.Loop() {
		waiting.reset()
		for _, span := range spans {
			waiting.add(appendJaegerSpan, span)
		}
		for sent := 0; sent < len(spans); {
			_, n := e.next(&waiting, sent)
			sent += n
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/jaegerBatch, "ns/span")
}
