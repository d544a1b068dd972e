package trace

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// OTLPSettings are what an OTLPExporter is built from.
type OTLPSettings struct {
	// Endpoint is the URL that spans are posted to, with its path.
	Endpoint string
	// Headers are sent with each request. They hold secrets.
	Headers http.Header
	// Gzip compresses requests.
	Gzip bool
	// TLS is for endpoints with https; nil: the system's roots.
	TLS *tls.Config
	// SampleRatio is the share of new traces that are sampled, from 0 to 1.
	SampleRatio float64
	// QueueSize is how many spans may wait, BatchSize how many are sent at
	// once; it is not above QueueSize.
	QueueSize, BatchSize int
	// Delay is how long a span may wait for others.
	Delay time.Duration
	// Timeout bounds an attempt to send a batch, ExportTimeout all attempts.
	Timeout, ExportTimeout time.Duration
}

// OTLPExporter sends spans to an OpenTelemetry collector, in protocol buffers
// over HTTP. Export puts a span into a queue, if there is room; one goroutine
// takes batches from there, encodes, posts and repeats:
//
//	Export → waiting → run: take → encode → send (otlpClient)
//
// So at most QueueSize spans and one encoded batch are held, whatever becomes
// of the collector. While no span waits nothing runs and no buffer is kept.
type OTLPExporter struct {
	settings OTLPSettings
	bound    uint64 // trace ids below are sampled
	encoder  otlpEncoder
	client   *otlpClient
	failures failures
	metrics  *metrics.Set
	size     int // of the last message, run's guess at the next

	mu      sync.Mutex
	waiting []Span
	closed  bool

	wake     chan struct{} // holds one note that there may be something to do
	stopping chan struct{} // closed by Close
	stop     func()
	ctx      context.Context // of all requests
	cancel   context.CancelFunc
	done     chan struct{} // closed at run's end
	err      error         // of the last spans; after done
}

// NewOTLP returns an exporter that runs until it is closed. The resource says
// where the spans come from: its tags are those of OpenTelemetry's resources.
func NewOTLP(settings OTLPSettings, service string, resource []Tag, version string, set *metrics.Set, logger *slog.Logger) *OTLPExporter {
	e := newOTLP(settings, service, resource, version, set, logger)
	go e.run()
	return e
}

// newOTLP returns an exporter that does not run yet.
func newOTLP(settings OTLPSettings, service string, resource []Tag, version string, set *metrics.Set, logger *slog.Logger) *OTLPExporter {
	e := &OTLPExporter{
		settings: settings,
		bound:    uint64(settings.SampleRatio * (1 << 63)),
		encoder:  newOTLPEncoder(append([]Tag{{"service.name", service}}, resource...), version),
		client:   newOTLPClient(settings, version),
		failures: failures{logger: logger},
		metrics:  set,
		wake:     make(chan struct{}, 1),
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
	}
	e.stop = sync.OnceFunc(func() { close(e.stopping) })
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// Sample implements Exporter. It decides as OpenTelemetry's SDKs do, by the
// trace id's low half, so that one ratio samples the same traces everywhere.
func (e *OTLPExporter) Sample(root Context, _ string) bool { return root.TraceLow>>1 < e.bound }

// Export implements Exporter.
func (e *OTLPExporter) Export(s Span) {
	e.mu.Lock()
	if e.closed || len(e.waiting) >= e.settings.QueueSize {
		e.mu.Unlock()
		e.metrics.Dropped.Add(1)
		return
	}
	e.waiting = append(e.waiting, s)
	n := len(e.waiting)
	e.mu.Unlock()
	if n == 1 || n == e.settings.BatchSize {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

// Close sends what is still waiting, until ctx ends.
func (e *OTLPExporter) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.stop()
	release := context.AfterFunc(ctx, e.cancel)
	defer release()
	<-e.done // soon: all that it waits for ends with the requests' context
	e.cancel()
	e.client.transport.CloseIdleConnections()
	return e.err
}

// run sends batches as they become due, then what is left.
func (e *OTLPExporter) run() {
	defer close(e.done)
	var batch []Span
	for e.await() {
		batch = e.take(batch)
		_ = e.send(batch) // it has been counted and logged
		if e.idle() {
			batch = nil
		}
	}
	for {
		batch = e.take(batch)
		switch {
		case len(batch) == 0:
			return
		case e.err != nil: // the collector was there for none of the others
			e.metrics.Dropped.Add(uint64(len(batch)))
		default:
			if err := e.send(batch); err != nil {
				e.err = fmt.Errorf("sending the last spans: %w", err)
			}
		}
	}
}

// await waits until a batch is full or its first span has waited for
// settings.Delay. It returns false at the exporter's end.
func (e *OTLPExporter) await() bool {
	var due <-chan time.Time
	for {
		n := e.length()
		switch {
		case isClosed(e.stopping):
			return false
		case n >= e.settings.BatchSize:
			return true
		case n > 0 && due == nil:
			timer := time.NewTimer(e.settings.Delay)
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-e.stopping:
		case <-e.wake:
		case <-due:
			return true
		}
	}
}

func (e *OTLPExporter) length() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.waiting)
}

// idle reports whether no span waits; then the queue's memory is released.
func (e *OTLPExporter) idle() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) > 0 {
		return false
	}
	e.waiting = nil
	return true
}

// take moves up to a batch from the queue into the memory of batch, whose spans
// have been sent.
func (e *OTLPExporter) take(batch []Span) []Span {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) <= e.settings.BatchSize {
		batch, e.waiting = e.waiting, batch[:0]
		return batch
	}
	batch = append(batch[:0], e.waiting[:e.settings.BatchSize]...)
	rest := copy(e.waiting, e.waiting[e.settings.BatchSize:])
	clear(e.waiting[rest:])
	e.waiting = e.waiting[:rest]
	return batch
}

// send encodes the batch and sends it. What the collector does not take is
// counted and logged.
func (e *OTLPExporter) send(batch []Span) error {
	// The memory is not that of the last message: a transport may go on to read
	// what it has given up.
	message := e.encoder.request(make([]byte, 0, e.size), batch)
	e.size = len(message)
	clear(batch) // the encoded form is smaller, and it may be held for long
	answer, err := e.client.send(e.ctx, message, e.stopping)
	switch {
	case err != nil:
		e.failures.Error(err.Error())
		e.metrics.Dropped.Add(uint64(len(batch)))
	case answer.rejected > 0:
		e.failures.Error(fmt.Sprintf("the collector rejected %d of %d spans: %s", answer.rejected, len(batch), answer.message))
		e.metrics.Dropped.Add(uint64(min(answer.rejected, int64(len(batch)))))
	case answer.message != "":
		e.failures.Error("the collector took all spans and says: " + answer.message)
	}
	return err
}
