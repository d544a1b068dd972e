package trace

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/uber/jaeger-client-go/thrift"
	thriftagent "github.com/uber/jaeger-client-go/thrift-gen/agent"
	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"github.com/uber/jaeger-client-go/thrift-gen/zipkincore"

	"github.com/formicarium/formicarium/netra/metrics"
)

// collector receives what a Jaeger client posts.
func collector(t *testing.T) (url string, batches chan *thriftgen.Batch) {
	t.Helper()
	batches = make(chan *thriftgen.Batch, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		memory := thrift.NewTMemoryBuffer()
		memory.Write(body)
		batch := thriftgen.NewBatch()
		if err := batch.Read(r.Context(), thrift.NewTBinaryProtocolTransport(memory)); err != nil {
			t.Error(err)
		}
		batches <- batch
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/api/traces", batches
}

func TestJaegerReceivesSpansAsTheyAre(t *testing.T) {
	url, batches := collector(t)
	t.Setenv("JAEGER_ENDPOINT", url)
	t.Setenv("JAEGER_TAGS", "zone=a")
	set := metrics.New("")
	exporter, flush, err := NewJaeger("orders", []Tag{{TagNamespace, "shop"}}, set, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if !exporter.Sample(root(), "GET /") {
		t.Error("without a sampler set, a trace is not sampled")
	}
	start := time.UnixMicro(1_700_000_000_123_456)
	ctx := Context{TraceHigh: 1, TraceLow: 2, Span: 3, Parent: 4, Sampled: true}
	exporter.Export(Span{ctx, "GET /orders/{id}", start, 1500 * time.Microsecond,
		[]Tag{{"span.kind", "server"}, {"error", true}, {"http.status_code", int64(500)}}})
	if err := flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	batch := <-batches
	span := batch.Spans[0]
	if batch.Process.ServiceName != "orders" || len(batch.Spans) != 1 ||
		span.TraceIdHigh != 1 || span.TraceIdLow != 2 || span.SpanId != 3 || span.ParentSpanId != 4 || span.Flags != 1 ||
		span.OperationName != "GET /orders/{id}" || span.StartTime != start.UnixMicro() || span.Duration != 1500 {
		t.Errorf("received %+v of %+v", span, batch.Process)
	}
	var names []string
	for _, tag := range span.Tags {
		names = append(names, tag.Key+" "+tag.VType.String())
	}
	if got, want := strings.Join(names, ", "), "span.kind STRING, error BOOL, http.status_code LONG"; got != want {
		t.Errorf("tags %s, want %s", got, want)
	}
	process := ""
	for _, tag := range batch.Process.Tags {
		process += tag.Key + " "
	}
	if !strings.Contains(process, "zone ") || !strings.Contains(process, TagNamespace+" ") {
		t.Errorf("JAEGER_TAGS are not among the process's tags: %s", process)
	}
}

func TestJaegerReceivesUTF8(t *testing.T) {
	url, batches := collector(t)
	t.Setenv("JAEGER_ENDPOINT", url)
	exporter, flush, err := NewJaeger("orders", nil, metrics.New(""), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	exporter.Export(Span{Context: child(root()), Name: "caf\xc3", Tags: []Tag{{"http.target", "caf\xc3"}}})
	if err := flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = "caf\uFFFD"
	if span := (<-batches).Spans[0]; span.OperationName != want || len(span.Tags) != 1 || span.Tags[0].GetVStr() != want {
		t.Errorf("received %+v", span)
	}
}

func TestJaegerSampler(t *testing.T) {
	for param, want := range map[string]bool{"0": false, "1": true} {
		for _, kind := range []string{"const", "probabilistic"} {
			t.Setenv("JAEGER_SAMPLER_TYPE", kind)
			t.Setenv("JAEGER_SAMPLER_PARAM", param)
			exporter, flush, err := NewJaeger("orders", nil, metrics.New(""), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if got := exporter.Sample(root(), "GET /"); got != want {
				t.Errorf("%s %s: sampled = %v", kind, param, got)
			}
			flush(t.Context())
		}
	}
}

func TestJaegerDisabled(t *testing.T) {
	t.Setenv("JAEGER_DISABLED", "true")
	exporter, flush, err := NewJaeger("orders", nil, metrics.New(""), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if exporter.Sample(root(), "GET /") {
		t.Error("sampled")
	}
	if err := flush(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestJaegerFaultIsNamed(t *testing.T) {
	t.Setenv("JAEGER_REPORTER_MAX_QUEUE_SIZE", "many")
	if _, _, err := NewJaeger("orders", nil, metrics.New(""), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "JAEGER_REPORTER_MAX_QUEUE_SIZE=many") {
		t.Errorf("error %v", err)
	}
}

// An agent whose name does not resolve yet must not keep netra from starting.
func TestJaegerAgentThatIsNotFound(t *testing.T) {
	t.Setenv("JAEGER_AGENT_HOST", "..") // resolves nowhere
	for _, disabled := range []string{"true", "false"} {
		t.Setenv("JAEGER_REPORTER_ATTEMPT_RECONNECTING_DISABLED", disabled)
		var log bytes.Buffer
		_, flush, err := NewJaeger("orders", nil, metrics.New(""), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatalf("%s: %v", disabled, err)
		}
		if err := flush(t.Context()); err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "no such host") {
			t.Errorf("%s: log:\n%s", disabled, log.String())
		}
	}
}

// agent is a Jaeger agent's handler.
type agent chan *thriftgen.Batch

func (a agent) EmitBatch(_ context.Context, batch *thriftgen.Batch) error {
	a <- batch
	return nil
}

func (agent) EmitZipkinBatch(context.Context, []*zipkincore.Span) error { return nil }

// However large spans are, packets are not too large for an agent.
func TestJaegerAgentReceivesEverySpan(t *testing.T) {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.SetReadBuffer(8 << 20); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JAEGER_AGENT_HOST", "127.0.0.1")
	t.Setenv("JAEGER_AGENT_PORT", strconv.Itoa(socket.LocalAddr().(*net.UDPAddr).Port))
	t.Setenv("JAEGER_TAGS", "zone="+strings.Repeat("z", 1000))
	set := metrics.New("")
	exporter, flush, err := NewJaeger("orders", nil, set, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	const n = 300
	var sent []Span
	for i := range n {
		span := Span{Context: child(root()), Name: "GET /" + strings.Repeat("\xff", i%200), Start: time.Now(), Duration: time.Duration(i) * time.Millisecond,
			Tags: []Tag{{"n", int64(i) - 100}, {"error", i%2 == 0}}}
		for range i % 20 {
			span.Tags = append(span.Tags, Tag{"text", strings.Repeat("\xff", maxTag)}) // three times as much in UTF-8
		}
		sent = append(sent, span)
		exporter.Export(span)
		if i == n/2 {
			span.Tags = append(span.Tags, Tag{"much", strings.Repeat("x", maxPacket)})
			exporter.Export(span)
		}
	}
	if err := flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	packets := make(agent, 1)
	seen := map[int64]bool{}
	for buf := make([]byte, 70000); len(seen) < n; {
		socket.SetReadDeadline(time.Now().Add(20 * time.Second))
		size, err := socket.Read(buf)
		if err != nil {
			t.Fatalf("after %d spans: %v", len(seen), err)
		}
		memory := thrift.NewTMemoryBuffer()
		memory.Write(buf[:size])
		protocol := thrift.NewTCompactProtocolFactory().GetProtocol(memory)
		if _, err := thriftagent.NewAgentProcessor(packets).Process(t.Context(), protocol, protocol); err != nil {
			t.Fatal(err)
		}
		batch := <-packets
		if p := batch.Process; p.ServiceName != "orders" || len(p.Tags) != 2 || p.Tags[0].Key != "zone" || p.Tags[0].GetVStr() != strings.Repeat("z", 1000) {
			t.Errorf("process %+v", p)
		}
		for _, span := range batch.Spans {
			i := span.Tags[0].GetVLong() + 100
			want := sent[i]
			if len(span.Tags) != len(want.Tags) || span.Tags[1].GetVBool() != (i%2 == 0) || span.Flags != 1 ||
				uint64(span.TraceIdHigh) != want.Context.TraceHigh || uint64(span.TraceIdLow) != want.Context.TraceLow ||
				uint64(span.SpanId) != want.Context.Span || uint64(span.ParentSpanId) != want.Context.Parent ||
				span.OperationName != valid(want.Name) || span.StartTime != want.Start.UnixMicro() || span.Duration != want.Duration.Microseconds() {
				t.Errorf("span %d is %.300v", i, span)
			}
			for _, tag := range span.Tags[2:] {
				if tag.Key != "text" || tag.GetVStr() != strings.Repeat("\uFFFD", 1) {
					t.Errorf("tag %s of span %d has %d bytes", tag.Key, i, len(tag.GetVStr()))
				}
			}
			seen[i] = true
		}
	}
	if lost := set.Dropped.Load(); lost != 1 { // the one that no packet has room for
		t.Errorf("%d spans are lost, want 1", lost)
	}
}

func TestBackEndThatIsDownCostsSpansOnly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	t.Setenv("JAEGER_ENDPOINT", "http://"+l.Addr().String()+"/api/traces")
	t.Setenv("JAEGER_REPORTER_MAX_QUEUE_SIZE", "10")
	set := metrics.New("")
	var log bytes.Buffer
	exporter, flush, err := NewJaeger("orders", nil, set, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	for range n {
		exporter.Export(Span{Context: child(root()), Name: "GET /"})
	}
	if err := flush(t.Context()); err == nil {
		t.Error("nothing is said of the last spans")
	}
	if got := set.Dropped.Load(); got != n {
		t.Errorf("netra_spans_dropped_total = %d, want %d", got, n)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 {
		t.Errorf("%d lines logged, want 1:\n%s", lines, log.String())
	}
}

func TestFlushEndsWithItsContext(t *testing.T) {
	block := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-block }))
	defer server.Close()
	defer close(block)
	t.Setenv("JAEGER_ENDPOINT", server.URL)
	exporter, flush, err := NewJaeger("orders", nil, metrics.New(""), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	exporter.Export(Span{Context: child(root()), Name: "GET /"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := flush(ctx); err == nil {
		t.Error("flush waited for a back end that does not answer")
	}
}
