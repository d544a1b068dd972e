package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// limit bounds every wait for something that should happen at once.
const limit = 20 * time.Second

// otlpCollector is a collector on a loopback port. Its answers are given by
// the test.
type otlpCollector struct {
	*httptest.Server
	attempts atomic.Int64
	taken    chan string // names of the spans in requests that were answered with 2xx

	mu      sync.Mutex
	headers []http.Header
}

// newOTLPCollector starts one. Where answer is nil all is taken; otherwise
// answer is given each attempt's number, from 1, and returns the status.
func newOTLPCollector(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, attempt int64) int) *otlpCollector {
	t.Helper()
	c := &otlpCollector{taken: make(chan string, 4096)}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		attempt := c.attempts.Add(1)
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Errorf("unpacking a request: %v", err)
				return
			}
			body = unpacked
		}
		content, err := io.ReadAll(body)
		if err != nil {
			t.Errorf("reading a request: %v", err)
			return
		}
		c.mu.Lock()
		c.headers = append(c.headers, r.Header.Clone())
		c.mu.Unlock()
		status := http.StatusOK
		if answer != nil {
			status = answer(w, r, attempt)
		}
		if status/100 == 2 {
			request, _ := decode(t, content)
			for _, name := range request.names() {
				c.taken <- name
			}
			return
		}
		if status != 0 {
			w.WriteHeader(status)
		}
	}))
	return c
}

func (c *otlpCollector) start(t *testing.T) *otlpCollector {
	c.Start()
	t.Cleanup(c.Close)
	return c
}

// next returns the name of the next span that was taken.
func (c *otlpCollector) next(t *testing.T) string {
	t.Helper()
	select {
	case name := <-c.taken:
		return name
	case <-time.After(limit):
		t.Fatal("no span arrived")
		return ""
	}
}

// otlpRun is an exporter under test, with what it counts and logs.
type otlpRun struct {
	*OTLPExporter
	set *metrics.Set
	log *lines
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startOTLP starts an exporter whose settings are changed by change; batches
// are due when they are full or at the end.
func startOTLP(t *testing.T, url string, change func(*OTLPSettings)) otlpRun {
	t.Helper()
	run := newRun(url, change)
	run.client.pause = time.Millisecond
	go run.run()
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		run.Close(ended)
	})
	return run
}

func newRun(url string, change func(*OTLPSettings)) otlpRun {
	settings := OTLPSettings{Endpoint: url, SampleRatio: 1, QueueSize: 100, BatchSize: 2, Delay: time.Hour, Timeout: limit, ExportTimeout: limit}
	if change != nil {
		change(&settings)
	}
	run := otlpRun{set: metrics.New(""), log: &lines{}}
	run.OTLPExporter = newOTLP(settings, "orders", nil, "v1", run.set, slog.New(slog.NewTextHandler(run.log, nil)))
	return run
}

func (r otlpRun) export(names ...string) {
	for _, name := range names {
		r.Export(Span{Context: child(root()), Name: name})
	}
}

// awaitDropped waits until n spans have been dropped, which is logged first.
func (r otlpRun) awaitDropped(t *testing.T, n uint64) {
	t.Helper()
	for deadline := time.Now().Add(limit); r.set.Dropped.Load() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d spans dropped, want %d; log:\n%s", r.set.Dropped.Load(), n, r.log)
		}
	}
}
