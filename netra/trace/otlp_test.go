package trace

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestOTLPPosts(t *testing.T) {
	for _, encoding := range []string{"", "gzip"} {
		c := newOTLPCollector(t, nil).start(t)
		e := startOTLP(t, c.URL+"/v1/traces", func(s *OTLPSettings) {
			s.Gzip = encoding == "gzip"
			s.Headers = http.Header{"Authorization": {"Bearer token"}}
		})
		e.export("a", "b") // a full batch
		if got := c.next(t) + c.next(t); got != "ab" {
			t.Errorf("spans %s, want ab", got)
		}
		h := c.headers[0]
		if h.Get("Content-Type") != "application/x-protobuf" || h.Get("Content-Encoding") != encoding ||
			h.Get("Authorization") != "Bearer token" || h.Get("User-Agent") != "formicarium-netra/v1" {
			t.Errorf("headers %v", h)
		}
		if e.set.Dropped.Load() != 0 || e.log.String() != "" {
			t.Errorf("%d spans dropped, log %s", e.set.Dropped.Load(), e.log)
		}
	}
}

func TestOTLPSpansWaitForOthersNoLongerThanDelay(t *testing.T) {
	c := newOTLPCollector(t, nil).start(t)
	e := startOTLP(t, c.URL, func(s *OTLPSettings) { s.Delay = time.Millisecond })
	for _, name := range []string{"a", "b", "c"} { // each alone: the timer starts anew
		e.export(name)
		if got := c.next(t); got != name {
			t.Errorf("span %s, want %s", got, name)
		}
	}
}

func TestOTLPRetries(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout} {
		c := newOTLPCollector(t, func(_ http.ResponseWriter, _ *http.Request, attempt int64) int {
			if attempt < 4 {
				return status
			}
			return http.StatusOK
		}).start(t)
		e := startOTLP(t, c.URL, nil)
		e.export("a", "b")
		if got := c.next(t) + c.next(t); got != "ab" {
			t.Errorf("%d: spans %s, want ab", status, got)
		}
		if n := e.set.Dropped.Load(); n != 0 {
			t.Errorf("%d: %d spans dropped", status, n)
		}
	}
}

func TestOTLPGivesUp(t *testing.T) {
	c := newOTLPCollector(t, func(http.ResponseWriter, *http.Request, int64) int { return http.StatusServiceUnavailable }).start(t)
	e := newRun(c.URL, nil)
	e.client.pause = 4 * limit // is more than all attempts may take
	go e.run()
	e.export("a", "b")
	e.awaitDropped(t, 2)
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if log := e.log.String(); c.attempts.Load() != 1 || strings.Count(log, "\n") != 1 || !strings.Contains(log, "503 Service Unavailable") {
		t.Errorf("%d attempts, log:\n%s", c.attempts.Load(), log)
	}
}

// The log says what was wrong with a collector, not that the time was over.
func TestOTLPLogSaysMoreThanThatTheTimeIsOver(t *testing.T) {
	reached := make(chan struct{})
	c := newOTLPCollector(t, func(_ http.ResponseWriter, r *http.Request, attempt int64) int {
		if attempt == 2 {
			close(reached)
			<-r.Context().Done()
		}
		return http.StatusBadGateway
	}).start(t)
	e := startOTLP(t, c.URL, nil)
	e.export("a", "b")
	<-reached
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Close(ended); err != nil { // nothing was waiting any more
		t.Error(err)
	}
	if log := e.log.String(); !strings.Contains(log, "giving up") || !strings.Contains(log, "502 Bad Gateway") {
		t.Errorf("log:\n%s", log)
	}
}

// A collector that asks to be left alone is, until the exporter's end.
func TestOTLPRetryAfter(t *testing.T) {
	c := newOTLPCollector(t, func(w http.ResponseWriter, _ *http.Request, attempt int64) int {
		if attempt == 1 {
			w.Header().Set("Retry-After", "3600")
			return http.StatusTooManyRequests
		}
		return http.StatusOK
	}).start(t)
	e := startOTLP(t, c.URL, nil)
	e.export("a", "b")
	e.awaitDropped(t, 2) // at once: the hour is more than all attempts may take
	e.export("c", "d")
	if n := c.attempts.Load(); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := c.next(t) + c.next(t); got != "cd" || c.attempts.Load() != 2 {
		t.Errorf("spans %s after %d attempts, want cd after 2", got, c.attempts.Load())
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "86400": maxRetryAfter, "-1": 0, "1.5": 0, "soon": 0,
		"Fri, 02 Jan 2026 03:04:35 GMT": 30 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0, "Fri, 02 Jan 2099 03:04:00 GMT": maxRetryAfter,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", value, got, want)
		}
	}
}

func TestOTLPRefusalsAreNotRepeated(t *testing.T) {
	other := newOTLPCollector(t, nil).start(t)
	for status, reason := range map[int]string{
		http.StatusBadRequest: "no such field", http.StatusUnauthorized: "no token", http.StatusInternalServerError: "", http.StatusTemporaryRedirect: "",
	} {
		c := newOTLPCollector(t, func(w http.ResponseWriter, _ *http.Request, _ int64) int {
			w.Header().Set("Location", other.URL)
			if reason == "" {
				return status
			}
			kind, body := "text/plain; charset=utf-8", []byte(reason)
			if status == http.StatusBadRequest { // a google.rpc.Status
				kind, body = "application/x-protobuf", appendText(appendVarint(nil, 1, 3), 2, reason)
			}
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			w.Write(body)
			return 0
		}).start(t)
		e := startOTLP(t, c.URL, func(s *OTLPSettings) { s.Headers = http.Header{"Api-Key": {"secret-token"}} })
		e.export("a", "b")
		e.awaitDropped(t, 2)
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := c.attempts.Load(); n != 1 {
			t.Errorf("%d: %d attempts, want 1", status, n)
		}
		log := e.log.String()
		if strings.Count(log, "\n") != 1 || !strings.Contains(log, fmt.Sprint(status)) || !strings.Contains(log, reason) || strings.Contains(log, "secret-token") {
			t.Errorf("%d: log:\n%s", status, log)
		}
	}
	if n := other.attempts.Load(); n != 0 {
		t.Errorf("a redirection was followed, with the secrets, %d times", n)
	}
}

func TestOTLPPartialSuccess(t *testing.T) {
	for _, test := range []struct {
		rejected, dropped uint64
		message, log      string
	}{
		{1, 1, "too old", "rejected 1 of 2 spans: too old"},
		{1 << 40, 2, "", "rejected"},
		{0, 0, "tags are many", "took all spans and says: tags are many"},
		{0, 0, "", ""},
	} {
		c := newOTLPCollector(t, func(w http.ResponseWriter, _ *http.Request, _ int64) int {
			body, start := open(nil, responsePartialSuccess)
			body = appendText(appendVarint(body, partialRejected, test.rejected), partialMessage, test.message)
			w.Header().Set("Content-Type", "application/x-protobuf")
			w.Write(shut(body, start))
			return http.StatusOK
		}).start(t)
		e := startOTLP(t, c.URL, nil)
		e.export("a", "b")
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := e.set.Dropped.Load(); n != test.dropped {
			t.Errorf("%+v: %d spans dropped", test, n)
		}
		if log := e.log.String(); !strings.Contains(log, test.log) || test.log == "" && log != "" {
			t.Errorf("%+v: log:\n%s", test, log)
		}
	}
}

func TestOTLPAnswerWithoutEndIsBounded(t *testing.T) {
	c := newOTLPCollector(t, func(w http.ResponseWriter, r *http.Request, _ int64) int {
		w.Header().Set("Content-Type", "application/x-protobuf")
		zeros := make([]byte, 1<<16)
		for r.Context().Err() == nil {
			w.Write(zeros)
		}
		return http.StatusOK
	}).start(t)
	e := startOTLP(t, c.URL, nil)
	e.export("a", "b")
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	c.next(t) // the handler has ended: nobody reads on
	if log := e.log.String(); !strings.Contains(log, "not to be understood") {
		t.Errorf("log:\n%s", log)
	}
}

func TestOTLPCollectorThatDoesNotAnswer(t *testing.T) {
	c := newOTLPCollector(t, func(_ http.ResponseWriter, r *http.Request, _ int64) int {
		<-r.Context().Done() // the exporter has gone
		return http.StatusServiceUnavailable
	}).start(t)
	e := startOTLP(t, c.URL, func(s *OTLPSettings) { s.Timeout, s.ExportTimeout = 10*time.Millisecond, 50*time.Millisecond })
	e.export("a", "b")
	e.awaitDropped(t, 2)
}

func TestOTLPQueueIsBounded(t *testing.T) {
	c := newOTLPCollector(t, nil).start(t)
	e := newRun(c.URL, func(s *OTLPSettings) { s.QueueSize, s.BatchSize = 10, 4 })
	var exporting sync.WaitGroup
	for range 4 { // nobody takes spans from the queue yet
		exporting.Go(func() { e.export(slices.Repeat([]string{"a"}, 25)...) })
	}
	exporting.Wait()
	if n := e.set.Dropped.Load(); n != 90 {
		t.Errorf("%d of 100 spans dropped, want 90", n)
	}
	go e.run()
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for range 10 {
		c.next(t)
	}
	if len(c.taken) != 0 || c.attempts.Load() != 3 {
		t.Errorf("%d spans too many, in %d requests, want 3", len(c.taken), c.attempts.Load())
	}
	e.export("late")
	if n := e.set.Dropped.Load(); n != 91 {
		t.Errorf("a span after the end is not counted as dropped: %d", n)
	}
}

// Spans come in the order they ended in, and each of them comes.
func TestOTLPUnderLoad(t *testing.T) {
	const n = 2000
	c := newOTLPCollector(t, nil).start(t)
	e := startOTLP(t, c.URL, func(s *OTLPSettings) { s.QueueSize, s.BatchSize, s.Delay = n, 7, time.Millisecond })
	for i := range n {
		e.export(fmt.Sprint(i))
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for i := range n {
		if got := c.next(t); got != fmt.Sprint(i) {
			t.Fatalf("span %s, want %d", got, i)
		}
	}
}

func TestOTLPCloseEndsWithItsContext(t *testing.T) {
	reached := make(chan struct{})
	c := newOTLPCollector(t, func(_ http.ResponseWriter, r *http.Request, _ int64) int {
		close(reached)
		<-r.Context().Done()
		return http.StatusServiceUnavailable
	}).start(t)
	e := startOTLP(t, c.URL, nil)
	e.export("a")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	if err := e.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close returned %v", err)
	}
	if n := e.set.Dropped.Load(); n != 1 {
		t.Errorf("%d spans dropped, want 1", n)
	}
}

func TestOTLPCollectorThatIsDownCostsSpansOnly(t *testing.T) {
	c := newOTLPCollector(t, nil).start(t)
	c.Close()
	e := startOTLP(t, c.URL, func(s *OTLPSettings) { s.QueueSize, s.BatchSize = 10, 5 })
	for range 1000 {
		e.export("a")
	}
	if err := e.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "sending the last spans") {
		t.Errorf("Close returned %v", err)
	}
	if n := e.set.Dropped.Load(); n != 1000 {
		t.Errorf("netra_spans_dropped_total = %d, want 1000", n)
	}
	if n := strings.Count(e.log.String(), "\n"); n != 1 {
		t.Errorf("%d lines logged, want 1:\n%s", n, e.log)
	}
}

func TestOTLPSample(t *testing.T) {
	for _, test := range []struct {
		ratio float64
		low   uint64
		want  bool
	}{
		{0, 0, false}, {0, 1, false}, {1, 0, true}, {1, 1<<64 - 1, true},
		{0.5, 1<<63 - 1, true}, {0.5, 1 << 63, false}, {0.25, 1<<62 - 1, true}, {0.25, 1 << 62, false},
	} {
		e := newRun("", func(s *OTLPSettings) { s.SampleRatio = test.ratio })
		if got := e.Sample(Context{TraceHigh: 1, TraceLow: test.low, Span: 1}, "GET /"); got != test.want {
			t.Errorf("ratio %v, trace …%016x: sampled = %v", test.ratio, test.low, got)
		}
	}
}

// BenchmarkOTLPExport measures what a request pays: for a span that finds room,
// with the taking of batches, and for one that does not.
func BenchmarkOTLPExport(b *testing.B) {
	span := recordOf(benchmarkSpan())
	b.Run("queued", func(b *testing.B) {
		e := newRun("", func(s *OTLPSettings) { s.QueueSize, s.BatchSize = 2048, 512 })
		b.ReportAllocs()
		for n := 1; b.Loop(); n++ {
			if e.record(span); n%512 == 0 {
				e.take()
			}
		}
		if n := e.set.Dropped.Load(); n != 0 {
			b.Errorf("%d spans dropped", n)
		}
	})
	b.Run("full", func(b *testing.B) {
		e := newRun("", func(s *OTLPSettings) { s.QueueSize, s.BatchSize = 1, 1 })
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				e.record(span)
			}
		})
	})
}
