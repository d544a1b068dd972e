package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	opentracing "github.com/opentracing/opentracing-go"
	"github.com/uber/jaeger-client-go"
	"github.com/uber/jaeger-client-go/config"

	"github.com/formicarium/formicarium/netra/metrics"
)

// jaegerQueue is how many spans may wait for the reporter unless
// JAEGER_REPORTER_MAX_QUEUE_SIZE says otherwise: a second of a busy pod, some
// 2 MiB.
const jaegerQueue = 1000

// JaegerExporter sends spans to a Jaeger agent or collector.
type JaegerExporter struct {
	tracer  opentracing.Tracer
	closer  io.Closer
	sampler opentracing.Tracer // nil where every trace is sampled
}

// NewJaeger returns an exporter that is configured by the JAEGER_* variables of
// the process's environment, for they are read by jaeger-client-go itself.
// Unless they say otherwise every trace is sampled. With JAEGER_DISABLED=true
// nothing is. The process tags say where the spans come from; JAEGER_TAGS may add
// to them.
func NewJaeger(service string, process []Tag, set *metrics.Set, logger *slog.Logger) (Exporter, func(context.Context) error, error) {
	cfg, err := (&config.Configuration{
		Sampler:  &config.SamplerConfig{Type: jaeger.SamplerTypeConst, Param: 1},
		Reporter: &config.ReporterConfig{QueueSize: jaegerQueue},
	}).FromEnv()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the JAEGER_ variables: %w", err)
	}
	if cfg.Disabled {
		return Discard{}, func(context.Context) error { return nil }, nil
	}
	log := &jaegerLogger{failures{logger: logger}}
	reports := jaeger.NewNullMetrics()
	reports.ReporterDropped = dropped{set}
	reports.ReporterFailure = dropped{set}
	cfg.Sampler.Options = append(cfg.Sampler.Options, jaeger.SamplerOptions.Logger(log))
	reporter, err := cfg.Reporter.NewReporter(service, reports, log)
	if err != nil && cfg.Reporter.DisableAttemptReconnecting {
		// An agent whose name does not resolve yet must not keep netra, and so
		// the application's traffic, from starting.
		log.Error(fmt.Sprintf("finding the agent, which is tried again against JAEGER_REPORTER_ATTEMPT_RECONNECTING_DISABLED: %v", err))
		cfg.Reporter.DisableAttemptReconnecting = false
		reporter, err = cfg.Reporter.NewReporter(service, reports, log)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("starting the Jaeger reporter: %w", err)
	}
	sampler, err := samplingTracer(cfg, service, log)
	if err != nil {
		return nil, nil, err
	}
	cfg.ServiceName = service
	for _, tag := range process {
		cfg.Tags = append(cfg.Tags, opentracing.Tag{Key: tag.Key, Value: tag.Value})
	}
	tracer, closer, err := cfg.NewTracer(config.Reporter(reporter), config.Sampler(always{}), config.Logger(log), config.MaxTagValueLength(maxTag))
	if err != nil {
		return nil, nil, fmt.Errorf("starting the Jaeger client: %w", err)
	}
	e := &JaegerExporter{tracer: tracer, closer: closer, sampler: sampler}
	return e, e.Close, nil
}

// samplingTracer returns a tracer that is asked for decisions and reports
// nothing, since the client decides only while it starts a span, and spans are
// started there when they have already ended.
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
	span := e.sampler.StartSpan(name, jaeger.SelfRef(jaegerContext(root, false)))
	ctx, ok := span.Context().(jaeger.SpanContext)
	return ok && ctx.IsSampled()
}

// Export implements Exporter.
func (e *JaegerExporter) Export(s Span) {
	span := e.tracer.StartSpan(validText(s.Name), jaeger.SelfRef(jaegerContext(s.Context, true)), opentracing.StartTime(s.Start))
	for _, tag := range s.Tags {
		if text, ok := tag.Value.(string); ok {
			tag.Value = validText(text)
		}
		span.SetTag(tag.Key, tag.Value)
	}
	span.FinishWithOptions(opentracing.FinishOptions{FinishTime: s.Start.Add(s.Duration)})
}

// Close sends what is still waiting, until ctx ends.
func (e *JaegerExporter) Close(ctx context.Context) error {
	closed := make(chan error, 1)
	go func() { closed <- e.closer.Close() }()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return errors.New("sending the last spans: the time is over")
	}
}

func jaegerContext(c Context, sampled bool) jaeger.SpanContext {
	return jaeger.NewSpanContext(jaeger.TraceID{High: c.TraceHigh, Low: c.TraceLow},
		jaeger.SpanID(c.Span), jaeger.SpanID(c.Parent), sampled, nil)
}

// always is a sampler that adds no tags: what it sees was sampled before.
type always struct{ jaeger.SamplerV2Base }

func (always) decide() jaeger.SamplingDecision { return jaeger.SamplingDecision{Sample: true} }

func (a always) OnCreateSpan(*jaeger.Span) jaeger.SamplingDecision { return a.decide() }

func (a always) OnSetOperationName(*jaeger.Span, string) jaeger.SamplingDecision { return a.decide() }

func (a always) OnSetTag(*jaeger.Span, string, any) jaeger.SamplingDecision { return a.decide() }

func (a always) OnFinishSpan(*jaeger.Span) jaeger.SamplingDecision { return a.decide() }

// dropped counts lost spans for the client's metrics.
type dropped struct{ set *metrics.Set }

// Inc implements the client's Counter.
func (d dropped) Inc(n int64) {
	if n > 0 {
		d.set.Dropped.Add(uint64(n))
	}
}

// jaegerLogger passes the client's messages on.
type jaegerLogger struct{ failures }

// Infof implements jaeger.Logger.
func (l *jaegerLogger) Infof(format string, args ...any) {
	l.logger.Debug(fmt.Sprintf(format, args...))
}
