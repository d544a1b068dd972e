package trace

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
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
// over HTTP.
type OTLPExporter struct {
	*batcher
	client *otlpClient
	bound  uint64 // trace ids below are sampled
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
	client := newOTLPClient(settings, version)
	to := &otlpSink{encoder: newOTLPEncoder(append([]Tag{{"service.name", service}}, resource...), version), client: client}
	limits := batchLimits{queueSize: settings.QueueSize, batchSize: settings.BatchSize, delay: settings.Delay}
	return &OTLPExporter{
		batcher: newBatcher(limits, to, set, logger),
		client:  client,
		bound:   uint64(settings.SampleRatio * (1 << 63)),
	}
}

// Sample implements Exporter. It decides as OpenTelemetry's SDKs do, by the
// trace id's low half, so that one ratio samples the same traces everywhere.
func (e *OTLPExporter) Sample(root Context, _ string) bool { return root.TraceLow>>1 < e.bound }

// otlpSink encodes batches and posts them.
type otlpSink struct {
	encoder otlpEncoder
	client  *otlpClient
	size    int // of the last message, a guess at the next
}

func (s *otlpSink) encode(b []byte, r *record) []byte { return appendSpan(b, r) }

func (s *otlpSink) send(ctx context.Context, spans *batch, stopping <-chan struct{}) (receipt, error) {
	// The memory is not that of the last message: a transport may go on to read
	// what it has given up.
	message := s.encoder.request(make([]byte, 0, s.size), spans.bytes)
	s.size = len(message)
	n := spans.len()
	spans.reset() // the message has them, and it may be held for long
	answer, err := s.client.send(ctx, message, stopping)
	switch {
	case err != nil:
		return receipt{}, err
	case answer.rejected > 0:
		return receipt{
			lost: int(min(answer.rejected, int64(n))),
			note: fmt.Sprintf("the collector rejected %d of %d spans: %s", answer.rejected, n, answer.message),
		}, nil
	case answer.message != "":
		return receipt{note: "the collector took all spans and says: " + answer.message}, nil
	}
	return receipt{}, nil
}

func (s *otlpSink) close() { s.client.transport.CloseIdleConnections() }
