package trace

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	opentracing "github.com/opentracing/opentracing-go"
	"github.com/uber/jaeger-client-go"
	"github.com/uber/jaeger-client-go/config"

	"github.com/formicarium/formicarium/netra/metrics"
)

const (
	// jaegerQueue is how many spans may wait unless
	// JAEGER_REPORTER_MAX_QUEUE_SIZE says otherwise: a second of a busy pod,
	// some 1 MiB.
	jaegerQueue = 1000
	// jaegerBatch is how many are sent at once: jaeger-client-go's number for
	// collectors; an agent gets them in as many packets as it takes.
	jaegerBatch = 100
	// jaegerDelay is how long a span waits for others unless
	// JAEGER_REPORTER_FLUSH_INTERVAL says otherwise; jaeger-client-go's number.
	jaegerDelay = time.Second
)

// JaegerExporter sends spans to a Jaeger agent or collector. Settings and samplers
// are jaeger-client-go's; but its tracer, which wants to be told of a span from
// its start, and its messages are passed by: half of what a request cost went
// there.
type JaegerExporter struct {
	*batcher
	sampler opentracing.Tracer // nil where every trace is sampled
	logged  *slog.Logger       // nil unless each span is logged
}

// NewJaeger returns an exporter that is configured by the JAEGER_* variables of
// the process's environment, for they are read by jaeger-client-go itself.
// Unless they say otherwise every trace is sampled. With JAEGER_DISABLED=true
// nothing is. The process tags say where the spans come from; JAEGER_TAGS may add
// to them.
func NewJaeger(service string, process []Tag, set *metrics.Set, logger *slog.Logger) (Exporter, func(context.Context) error, error) {
	cfg, err := (&config.Configuration{
		Sampler:  &config.SamplerConfig{Type: jaeger.SamplerTypeConst, Param: 1},
		Reporter: &config.ReporterConfig{QueueSize: jaegerQueue, BufferFlushInterval: jaegerDelay},
	}).FromEnv()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the JAEGER_ variables: %w", err)
	}
	if cfg.Disabled {
		return Discard{}, func(context.Context) error { return nil }, nil
	}
	log := &jaegerLogger{failures{logger: logger}}
	cfg.Sampler.Options = append(cfg.Sampler.Options, jaeger.SamplerOptions.Logger(log))
	sampler, err := samplingTracer(cfg, service, log)
	if err != nil {
		return nil, nil, err
	}
	for _, tag := range cfg.Tags {
		process = append(process, Tag{tag.Key, tag.Value})
	}
	if host, err := os.Hostname(); err == nil {
		process = append(process, Tag{"hostname", host})
	}
	var to sink
	if cfg.Reporter.CollectorEndpoint != "" {
		to = newCollectorSink(cfg.Reporter, jaegerBatchHead(service, process))
	} else {
		to = newAgentSink(cfg.Reporter, newPacketEncoder(service, process), log)
	}
	queue := max(1, cfg.Reporter.QueueSize)
	limits := batchLimits{queueSize: queue, batchSize: min(jaegerBatch, queue), delay: cfg.Reporter.BufferFlushInterval}
	e := &JaegerExporter{batcher: newBatcher(limits, to, set, logger), sampler: sampler}
	if cfg.Reporter.LogSpans {
		e.logged = logger
	}
	go e.run()
	return e, e.Close, nil
}

// samplingTracer returns a tracer that is asked for decisions and reports
// nothing, since the client decides only while it starts a span.
func samplingTracer(cfg *config.Configuration, service string, log jaeger.Logger) (opentracing.Tracer, error) {
	if cfg.Sampler.Type == jaeger.SamplerTypeConst && cfg.Sampler.Param != 0 {
		return nil, nil
	}
	sampler, err := cfg.Sampler.NewSampler(service, jaeger.NewNullMetrics())
	if err != nil {
		return nil, fmt.Errorf("starting the Jaeger sampler: %w", err)
	}
	tracer, _ := jaeger.NewTracer(service, sampler, jaeger.NewNullReporter(), jaeger.TracerOptions.Logger(log))
	return tracer, nil
}

// Sample implements Exporter.
func (e *JaegerExporter) Sample(root Context, name string) bool {
	if e.sampler == nil {
		return true
	}
	own := jaeger.NewSpanContext(jaeger.TraceID{High: root.TraceHigh, Low: root.TraceLow},
		jaeger.SpanID(root.Span), jaeger.SpanID(root.Parent), false, nil)
	ctx, ok := e.sampler.StartSpan(name, jaeger.SelfRef(own)).Context().(jaeger.SpanContext)
	return ok && ctx.IsSampled()
}

// Export implements Exporter.
func (e *JaegerExporter) Export(s Span) { e.record(recordOf(s)) }

// record implements encoding. A logger has written what it is given when it
// returns.
func (e *JaegerExporter) record(r *record) {
	if e.logged != nil {
		e.logged.Info("span", "name", r.name, "trace", r.context.TraceID(), "span", r.context.SpanID(), "duration", r.duration)
	}
	e.batcher.record(r)
}

// jaegerLogger passes the client's messages on.
type jaegerLogger struct{ failures }

// Infof implements jaeger.Logger.
func (l *jaegerLogger) Infof(format string, args ...any) {
	l.logger.Debug(fmt.Sprintf(format, args...))
}
