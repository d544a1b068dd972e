package trace

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/uber/jaeger-client-go/config"
	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// jaegerEncoder makes Jaeger's messages of spans, for collectors. Its memory is
// used again for the next batch.
type jaegerEncoder struct {
	process *jaeger.Process
	batch   jaeger.Batch
	spans   []jaeger.Span
	tags    []jaeger.Tag
	list    []*jaeger.Tag
	texts   []string
	numbers []int64
	truths  [2]bool
}

func newJaegerEncoder(service string, process []Tag) *jaegerEncoder {
	e := &jaegerEncoder{process: &jaeger.Process{ServiceName: validText(service)}, truths: [2]bool{false, true}}
	e.grow(1, len(process))
	e.process.Tags = e.encodeTags(process)
	// These stay; the next batch begins with memory of its own.
	e.tags, e.list, e.texts, e.numbers = nil, nil, nil, nil
	return e
}

// grow makes room for so many spans with so many tags in all, for what is given
// out must not move.
func (e *jaegerEncoder) grow(spans, tags int) {
	if cap(e.spans) < spans {
		e.spans, e.batch.Spans = make([]jaeger.Span, 0, spans), make([]*jaeger.Span, 0, spans)
	}
	if cap(e.tags) < tags {
		e.tags, e.list = make([]jaeger.Tag, 0, tags), make([]*jaeger.Tag, 0, tags)
		e.texts, e.numbers = make([]string, 0, tags), make([]int64, 0, tags)
	}
	e.spans, e.batch.Spans = e.spans[:0], e.batch.Spans[:0]
	e.tags, e.list, e.texts, e.numbers = e.tags[:0], e.list[:0], e.texts[:0], e.numbers[:0]
}

// encode returns the spans in one message, valid until the next call.
func (e *jaegerEncoder) encode(spans []Span) *jaeger.Batch {
	tags := 0
	for i := range spans {
		tags += len(spans[i].Tags)
	}
	e.grow(len(spans), tags)
	for i := range spans {
		s := &spans[i]
		e.spans = append(e.spans, jaeger.Span{
			TraceIdHigh: int64(s.Context.TraceHigh), TraceIdLow: int64(s.Context.TraceLow),
			SpanId: int64(s.Context.Span), ParentSpanId: int64(s.Context.Parent),
			OperationName: validText(s.Name), Flags: 1, // sampled
			StartTime: s.Start.UnixMicro(), Duration: s.Duration.Microseconds(),
			Tags: e.encodeTags(s.Tags),
		})
		e.batch.Spans = append(e.batch.Spans, &e.spans[i])
	}
	e.batch.Process = e.process
	return &e.batch
}

func (e *jaegerEncoder) encodeTags(tags []Tag) []*jaeger.Tag {
	first := len(e.list)
	for _, tag := range tags {
		t := jaeger.Tag{Key: tag.Key}
		switch v := tag.Value.(type) {
		case bool:
			t.VType, t.VBool = jaeger.TagType_BOOL, &e.truths[0]
			if v {
				t.VBool = &e.truths[1]
			}
		case int64:
			e.numbers = append(e.numbers, v)
			t.VType, t.VLong = jaeger.TagType_LONG, &e.numbers[len(e.numbers)-1]
		case string:
			e.texts = append(e.texts, validText(v))
			t.VType, t.VStr = jaeger.TagType_STRING, &e.texts[len(e.texts)-1]
		default: // what JAEGER_TAGS has
			e.texts = append(e.texts, validText(fmt.Sprint(v)))
			t.VType, t.VStr = jaeger.TagType_STRING, &e.texts[len(e.texts)-1]
		}
		e.tags = append(e.tags, t)
		e.list = append(e.list, &e.tags[len(e.tags)-1])
	}
	return e.list[first:len(e.list):len(e.list)]
}

// agentSink sends packets to an agent. Its name is resolved again from time to
// time: agents move, and a packet to nowhere is not answered.
type agentSink struct {
	encoder *packetEncoder
	address string
	every   time.Duration // 0: never again
	conn    net.Conn
	looked  time.Time
}

// newAgentSink returns a sink for the agent that cfg names. One that is not
// found yet is looked for later: it must not keep netra, and so the application's
// traffic, from starting.
func newAgentSink(cfg *config.ReporterConfig, encoder *packetEncoder, log *jaegerLogger) *agentSink {
	s := &agentSink{encoder: encoder, address: cfg.LocalAgentHostPort}
	if !cfg.DisableAttemptReconnecting {
		s.every = cfg.AttemptReconnectInterval
	}
	if s.every == 0 && !cfg.DisableAttemptReconnecting {
		s.every = agentLookup
	}
	if err := s.look(context.Background()); err != nil {
		log.Error(err.Error())
	}
	return s
}

const (
	// agentLookup is how often the agent's name is resolved unless
	// JAEGER_REPORTER_ATTEMPT_RECONNECT_INTERVAL says otherwise;
	// jaeger-client-go's number.
	agentLookup = 30 * time.Second
	// lookupTimeout bounds a look.
	lookupTimeout = 5 * time.Second
)

// look resolves the agent's name where that is due.
func (s *agentSink) look(ctx context.Context) error {
	if s.conn != nil && (s.every == 0 || time.Since(s.looked) < s.every) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", s.address)
	s.looked = time.Now()
	if err != nil {
		if s.conn != nil {
			return nil // where it was is better than nowhere
		}
		return fmt.Errorf("finding the Jaeger agent %s: %w", s.address, err)
	}
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn = conn
	return nil
}

func (s *agentSink) send(ctx context.Context, batch []Span, _ <-chan struct{}) (receipt, error) {
	if err := s.look(ctx); err != nil {
		return receipt{}, err
	}
	var r receipt
	for len(batch) > 0 {
		packet, n := s.encoder.next(batch)
		if n == 0 {
			r.lost, r.note = r.lost+1, fmt.Sprintf("a span is larger than the %d bytes that an agent takes", maxPacket)
			batch = batch[1:]
			continue
		}
		if _, err := s.conn.Write(packet); err != nil {
			r.lost, r.note = r.lost+n, fmt.Sprintf("sending a packet to the Jaeger agent: %v", err)
		}
		batch = batch[n:]
	}
	return r, nil
}

func (s *agentSink) close() {
	if s.conn != nil {
		s.conn.Close()
	}
}

// collectorSink posts batches to a collector.
type collectorSink struct {
	encoder        *jaegerEncoder
	url            string
	user, password string
	header         map[string]string
	client         *http.Client
	transport      *http.Transport
}

// collectorTimeout is how long a collector may take for a batch;
// jaeger-client-go's number.
const collectorTimeout = 5 * time.Second

func newCollectorSink(cfg *config.ReporterConfig, encoder *jaegerEncoder) *collectorSink {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: 90 * time.Second}
	return &collectorSink{
		encoder: encoder, url: cfg.CollectorEndpoint + "?format=jaeger.thrift", user: cfg.User, password: cfg.Password, header: cfg.HTTPHeaders,
		client: &http.Client{Transport: transport, Timeout: collectorTimeout}, transport: transport,
	}
}

func (s *collectorSink) send(ctx context.Context, batch []Span, _ <-chan struct{}) (receipt, error) {
	memory := thrift.NewTMemoryBuffer()
	if err := s.encoder.encode(batch).Write(ctx, thrift.NewTBinaryProtocolConf(memory, nil)); err != nil {
		return receipt{}, fmt.Errorf("encoding spans: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(memory.Bytes()))
	if err != nil {
		return receipt{}, fmt.Errorf("posting spans: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-thrift")
	for name, value := range s.header {
		request.Header.Set(name, value)
	}
	if s.user != "" && s.password != "" {
		request.SetBasicAuth(s.user, s.password)
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return receipt{}, fmt.Errorf("posting spans: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // for the connection's sake
	if answer.StatusCode >= http.StatusBadRequest {
		return receipt{}, fmt.Errorf("posting spans: the collector answered %s", answer.Status)
	}
	return receipt{}, nil
}

func (s *collectorSink) close() { s.transport.CloseIdleConnections() }
