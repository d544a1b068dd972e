package trace

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// told is what a span, or its request, says that no other one's does.
type told struct{ name, span, target, host, agent, id, tenant, size string }

// keeper is an Exporter that keeps what it is given, and reads it much later.
type keeper struct {
	mu    sync.Mutex
	spans []Span
}

func (k *keeper) Sample(Context, string) bool { return true }

func (k *keeper) Export(s Span) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spans = append(k.spans, s)
}

func tell(name, span string, tag func(key string) any) told {
	text := func(key string) string { return fmt.Sprint(tag(key)) }
	return told{name, span, text("http.target"), text("http.host"), text("http.user_agent"), text("http.request_id"), text("tenant"), text("http.response_size")}
}

// Requests use the memory of those that have ended; spans that are on their way,
// or that are kept, do not.
func TestMemoryIsUsedAgainOnlyWhereNobodyReadsIt(t *testing.T) {
	const clients, requests = 8, 300
	t.Run("kept", func(t *testing.T) {
		kept := &keeper{}
		want := manyRequests(t, kept, clients, requests)
		for _, s := range kept.spans {
			expectTold(t, want, tell(s.Name, s.Context.SpanID(), func(key string) any {
				for _, tag := range s.Tags {
					if tag.Key == key {
						return tag.Value
					}
				}
				return nil
			}))
		}
		expectAllTold(t, want)
	})
	t.Run("sent and logged", func(t *testing.T) {
		url, batches := collector(t)
		t.Setenv("JAEGER_ENDPOINT", url)
		t.Setenv("JAEGER_REPORTER_MAX_QUEUE_SIZE", fmt.Sprint(clients*requests))
		t.Setenv("JAEGER_REPORTER_FLUSH_INTERVAL", "1ms")
		t.Setenv("JAEGER_REPORTER_LOG_SPANS", "true")
		log := &lines{}
		exporter, flush, err := NewJaeger("orders", nil, metrics.New(""), slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan []told)
		go func() {
			var all []told
			for len(all) < clients*requests {
				select {
				case batch := <-batches:
					for _, s := range batch.Spans {
						all = append(all, tell(s.OperationName, hex16(uint64(s.SpanId)), func(key string) any {
							for _, tag := range s.Tags {
								if tag.Key == key && tag.IsSetVLong() {
									return tag.GetVLong()
								} else if tag.Key == key {
									return tag.GetVStr()
								}
							}
							return nil
						}))
					}
				case <-time.After(limit):
					t.Errorf("%d spans arrived, want %d", len(all), clients*requests)
					got <- all
					return
				}
			}
			got <- all
		}()
		want := manyRequests(t, exporter, clients, requests)
		if err := flush(t.Context()); err != nil {
			t.Error(err)
		}
		for span, w := range want {
			if line := fmt.Sprintf("name=%q", w.name); !strings.Contains(lineWith(log.String(), "span="+span), line) {
				t.Fatalf("the log does not say %s of the span %s", line, span)
			}
			break // they are many
		}
		for _, s := range <-got {
			expectTold(t, want, s)
		}
		expectAllTold(t, want)
	})
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

func expectTold(t *testing.T, want map[string]told, got told) {
	t.Helper()
	if want[got.span] != got {
		t.Errorf("a span says\n%+v, want\n%+v", got, want[got.span])
	}
	delete(want, got.span)
}

func expectAllTold(t *testing.T, want map[string]told) {
	t.Helper()
	if len(want) > 0 {
		t.Errorf("%d spans are missing", len(want))
	}
}

// manyRequests passes many requests at a time through one tracer, some of each
// client's beside each other, and returns what their spans must say.
func manyRequests(t *testing.T, exporter Exporter, clients, requests int) map[string]told {
	tracer := New(Settings{
		RequestIDHeader: "X-Request-Id", SourceHeader: "X-Source", Propagation: []Format{W3C, Jaeger},
		Expiration: time.Minute, CleanupInterval: time.Minute, HeaderTags: map[string]string{"x-tenant": "tenant"},
	}, exporter, metrics.New(""))
	var mu sync.Mutex
	want := map[string]told{}
	var running sync.WaitGroup
	for client := range clients {
		running.Go(func() {
			type open struct {
				request *Request
				edits   []Edit
				told    told
				size    int64
			}
			var inFlight []open
			end := func(o open) {
				// What is to be written is what it was, though others began since.
				context := strings.Split(string(o.edits[1].Value), ":")
				if o.told.span = context[1]; string(o.edits[0].Value) != "00-"+context[0]+"-"+context[1]+"-01" {
					t.Errorf("edits %s and %s", o.edits[0].Value, o.edits[1].Value)
				}
				mu.Lock()
				want[o.told.span] = o.told
				mu.Unlock()
				o.request.Answered(200)
				o.request.End(Result{ResponseBytes: o.size})
			}
			for i := range requests {
				key := fmt.Sprintf("%d-%d%s", client, i, strings.Repeat("x", i%50))
				direction, path, size := Direction(i%2), "/client/"+string(rune('a'+client)), int64(client*requests+i)
				w := told{name: "GET " + path, target: path + "?" + key, host: "host-" + key, agent: "agent-" + key, id: "id-" + key, tenant: "tenant-" + key, size: fmt.Sprint(size)}
				if direction == Outbound { // whose headers are no tags
					w.tenant = "<nil>"
				}
				request, edits := tracer.Begin(direction, head("GET", w.target, "Host: "+w.host, "User-Agent: "+w.agent, "X-Request-Id: "+w.id, "X-Tenant: tenant-"+key))
				inFlight = append(inFlight, open{request, edits, w, size})
				if len(inFlight) > i%5 {
					end(inFlight[0])
					inFlight = inFlight[1:]
				}
			}
			for _, o := range inFlight {
				end(o)
			}
		})
	}
	running.Wait()
	return want
}

// A request's memory is another one's afterwards. The bound leaves room for the
// race detector, under which a pool forgets a quarter of what it is given;
// without it there is none to be taken.
func TestRequestsTakeTheirMemoryFromThoseBefore(t *testing.T) {
	tracer := New(Settings{
		RequestIDHeader: "X-Request-Id", SourceHeader: "X-Source", Propagation: []Format{W3C, Jaeger},
		Expiration: time.Minute, CleanupInterval: time.Minute,
	}, forget{}, metrics.New(""))
	for _, direction := range []Direction{Inbound, Outbound} {
		for _, lines := range [][]string{{"Host: orders:8080"}, {"Host: orders", "traceparent: 00-" + traceID + "-" + spanID + "-01", "X-Request-Id: r-1"}} {
			var fields [][2][]byte
			for name, value := range headers(lines...) {
				fields = append(fields, [2][]byte{name, value})
			}
			h := head("GET", "/orders/17?full=true")
			h.Fields = func(yield func(name, value []byte) bool) {
				for _, f := range fields {
					if !yield(f[0], f[1]) {
						return
					}
				}
			}
			once := func() {
				request, _ := tracer.Begin(direction, h)
				request.Answered(200)
				request.End(Result{ResponseBytes: 1024})
			}
			for range maxContexts { // as many are remembered before one is forgotten for the next
				once()
			}
			if n := testing.AllocsPerRun(1000, once); n > 12 {
				t.Errorf("%s, %s: %v allocations for a request", direction, lines, n)
			}
		}
	}
}
