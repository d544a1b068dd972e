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
)

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

func (s *agentSink) encode(b []byte, r *record) []byte { return appendJaegerSpan(b, r) }

func (s *agentSink) send(ctx context.Context, spans *batch, _ <-chan struct{}) (receipt, error) {
	if err := s.look(ctx); err != nil {
		return receipt{}, err
	}
	var r receipt
	for sent := 0; sent < spans.len(); {
		packet, n := s.encoder.next(spans, sent)
		if n == 0 {
			r.lost, r.note = r.lost+1, fmt.Sprintf("a span is larger than the %d bytes that an agent takes", maxPacket)
			sent++
			continue
		}
		if _, err := s.conn.Write(packet); err != nil {
			r.lost, r.note = r.lost+n, fmt.Sprintf("sending a packet to the Jaeger agent: %v", err)
		}
		sent += n
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
	head           []byte // of every batch, up to the spans
	url            string
	user, password string
	header         map[string]string
	client         *http.Client
	transport      *http.Transport
}

// collectorTimeout is how long a collector may take for a batch;
// jaeger-client-go's number.
const collectorTimeout = 5 * time.Second

func newCollectorSink(cfg *config.ReporterConfig, head []byte) *collectorSink {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: 90 * time.Second}
	return &collectorSink{
		head: head, url: cfg.CollectorEndpoint + "?format=jaeger.thrift", user: cfg.User, password: cfg.Password, header: cfg.HTTPHeaders,
		client: &http.Client{Transport: transport, Timeout: collectorTimeout}, transport: transport,
	}
}

func (s *collectorSink) encode(b []byte, r *record) []byte { return appendBinarySpan(b, r) }

func (s *collectorSink) send(ctx context.Context, spans *batch, _ <-chan struct{}) (receipt, error) {
	// The memory is not that of the last message: a transport may go on to read
	// what it has given up.
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(jaegerBatchMessage(s.head, spans)))
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
