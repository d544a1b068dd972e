package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/formicarium/formicarium/bench/netra/bed"
	"github.com/formicarium/formicarium/bench/netra/report"
)

// stage is what is measured in one bed.
type stage struct {
	name string
	run  func(ctx context.Context, b *bed.Bed, note func(report.Sample)) error
}

// stageNames are those that a run may have, in their order.
var stageNames = []string{"memory", "abort", "load", "churn"}

// stages returns a peer's in a round. New connections take a minute, and what
// they show is not a matter of chance: one round will do.
func (r *runner) stages(round int, p peer) []stage {
	var list []stage
	for _, s := range []struct {
		stage
		wanted bool
	}{
		{stage{"memory", r.memory}, p.sidecar != nil},
		{stage{"abort", r.abort}, p.sidecar != nil},
		{stage{"load", r.load}, true},
		{stage{"churn", r.churn}, round == 0},
	} {
		if s.wanted && slices.Contains(r.Stages, s.name) {
			list = append(list, s.stage)
		}
	}
	return list
}

// stage runs one stage in a bed of its own.
func (r *runner) stage(ctx context.Context, round int, p peer, s stage) (err error) {
	var sidecar *bed.Sidecar
	if p.sidecar != nil {
		sidecar = p.sidecar(r.bed.Dir)
		maps.Copy(r.results.Files, sidecar.Files)
	}
	b, err := bed.New(ctx, r.bed, sidecar)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	for _, c := range b.Commands {
		if !slices.Contains(r.results.Commands[p.name], c) {
			r.results.Commands[p.name] = append(r.results.Commands[p.name], c)
		}
	}
	err = s.run(ctx, b, func(s report.Sample) {
		s.Round, s.Peer = round, p.name
		if p.name == report.Netra && s.Measurement != nil {
			traces, err := r.traces(ctx, b)
			if err != nil {
				r.fail("round %d: netra's traces: %v", round, err)
			} else if s.Traces = traces; traces.Spans < traces.Requests {
				r.fail("round %d: netra made %d spans of %d requests", round, traces.Spans, traces.Requests)
			}
		}
		r.results.Samples = append(r.results.Samples, s)
	})
	return errors.Join(err, b.Alive())
}

// memory looks at a sidecar that has nothing to do, and then at one with idle
// connections.
func (r *runner) memory(ctx context.Context, b *bed.Bed, note func(report.Sample)) error {
	if err := pause(ctx, r.Settle); err != nil {
		return err
	}
	before, err := b.Memory()
	if err != nil {
		return err
	}
	note(report.Sample{Step: report.StepIdle, Idle: &before})
	if err := b.WaitForAnswer(ctx); err != nil {
		return err
	}
	// That connection is gone, but what a first one leads to stays.
	hold := report.Hold{Conns: r.HoldConns}
	if hold.Before, err = b.Memory(); err != nil {
		return err
	}
	for range r.HoldConns {
		conn, err := b.Dial()
		if err != nil {
			return fmt.Errorf("holding connections: %w", err)
		}
		defer conn.Close()
		if err := exchange(conn); err != nil {
			return fmt.Errorf("holding connections: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := pause(ctx, r.Settle); err != nil {
		return err
	}
	if hold.Held, err = b.Memory(); err != nil {
		return err
	}
	note(report.Sample{Step: report.StepHold, Hold: &hold})
	return nil
}

const (
	exchangeTimeout = 20 * time.Second
	abortBytes      = 20 << 20 // that each client asks for
	abortReads      = 64 << 10 // that it reads
)

// exchange sends one request and reads its answer.
func exchange(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bed.AppAddr); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// abort has clients begin a download, stop reading, and reset it: a sidecar
// that reads ahead then holds it all.
func (r *runner) abort(ctx context.Context, b *bed.Bed, note func(report.Sample)) error {
	if err := r.warm(ctx, b); err != nil {
		return err
	}
	a := report.Abort{Clients: r.AbortClients, Bytes: abortBytes}
	var err error
	if a.Before, err = b.Memory(); err != nil {
		return err
	}
	if err := b.ResetPeak(); err != nil {
		return err
	}
	buffer := make([]byte, abortReads)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range r.AbortClients {
		conn, err := b.Dial()
		if err != nil {
			return fmt.Errorf("downloading: %w", err)
		}
		conns = append(conns, conn)
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil { // close resets
			return fmt.Errorf("downloading: %w", err)
		}
		if _, err := fmt.Fprintf(conn, "GET /bytes?n=%d HTTP/1.1\r\nHost: %s\r\n\r\n", abortBytes, bed.AppAddr); err != nil {
			return fmt.Errorf("downloading: %w", err)
		}
	}
	for _, conn := range conns {
		if err := conn.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
			return fmt.Errorf("downloading: %w", err)
		}
		if _, err := io.ReadFull(conn, buffer); err != nil {
			return fmt.Errorf("downloading: %w", err)
		}
	}
	if err := pause(ctx, r.Settle); err != nil {
		return err
	}
	for _, conn := range conns {
		conn.Close()
	}
	if err := pause(ctx, r.Settle); err != nil {
		return err
	}
	if a.After, err = b.Memory(); err != nil {
		return err
	}
	note(report.Sample{Step: report.StepAbort, Abort: &a})
	return nil
}

// load measures at each rate, and then without one.
func (r *runner) load(ctx context.Context, b *bed.Bed, note func(report.Sample)) error {
	if err := r.warm(ctx, b); err != nil {
		return err
	}
	for _, rate := range r.Rates {
		if err := r.measure(ctx, b, report.StepRate(rate), r.Attempts, note, r.rateFlags(rate)...); err != nil {
			return err
		}
	}
	return r.measure(ctx, b, report.StepClosed, r.Attempts, note, r.rateFlags(0)...)
}

func (r *runner) rateFlags(rate int) []string {
	return []string{
		"-conns", strconv.Itoa(r.Conns), "-rate", strconv.Itoa(rate),
		"-warmup", r.Warmup.String(), "-duration", r.Duration.String(),
	}
}

// maxUnderWay is how many new connections may be under way: a third of a second
// behind, a client gives up waiting for its turn.
const maxUnderWay = 1000

// churn makes a connection for each request. What failed once has failed, so
// there is one attempt.
func (r *runner) churn(ctx context.Context, b *bed.Bed, note func(report.Sample)) error {
	if err := r.warm(ctx, b); err != nil {
		return err
	}
	var sources []string
	for _, a := range bed.Sources {
		sources = append(sources, a.String())
	}
	return r.measure(ctx, b, report.StepChurn, 1, note,
		"-churn", "-conns", strconv.Itoa(maxUnderWay), "-rate", strconv.Itoa(r.ChurnRate), "-warmup", "0s",
		"-duration", r.Churn.String(), "-sources", strings.Join(sources, ","))
}

// warm has the sidecar see traffic, whose cost is then not measured.
func (r *runner) warm(ctx context.Context, b *bed.Bed) error {
	if err := b.WaitForAnswer(ctx); err != nil {
		return err
	}
	_, err := b.Measure(ctx, "-conns", strconv.Itoa(r.Conns), "-rate", "1000", "-warmup", "0s", "-duration", r.Warmup.String())
	return err
}

// measure notes the quietest of some attempts.
func (r *runner) measure(ctx context.Context, b *bed.Bed, step string, attempts int, note func(report.Sample), flags ...string) error {
	var best report.Sample
	for i := range attempts {
		if err := bed.Quiet(ctx, report.Loud, r.Patience); err != nil {
			return err
		}
		m, err := b.Measure(ctx, flags...)
		if err != nil {
			return err
		}
		if best.Measurement == nil || m.OtherCores < best.OtherCores {
			best = report.Sample{Step: step, Attempt: i + 1, Measurement: m}
		}
		if m.OtherCores < report.Loud {
			break
		}
	}
	note(best)
	return nil
}

// traces asks netra and the agent's stand-in.
func (r *runner) traces(ctx context.Context, b *bed.Bed) (*report.Traces, error) {
	text, err := b.PodGet(ctx, "http://127.0.0.1:14958/metrics")
	if err != nil {
		return nil, err
	}
	sink, err := b.PodGet(ctx, "http://"+"127.0.0.1:"+strconv.Itoa(int(bed.AppAddr.Port()))+"/sink")
	if err != nil {
		return nil, err
	}
	t := &report.Traces{
		Requests: sum(text, "netra_requests_total"), Spans: sum(text, "netra_spans_total"), Dropped: sum(text, "netra_spans_dropped_total"),
	}
	if t.Datagrams, err = strconv.Atoi(string(sink)); err != nil {
		return nil, fmt.Errorf("reading what the sink has got: %w", err)
	}
	return t, nil
}

// sum adds up the samples of a metric, whatever their labels.
func sum(metrics []byte, name string) int {
	total := 0.0
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(?:\{.*\})? ([0-9.e+]+)$`).FindAllSubmatch(metrics, -1) {
		if v, err := strconv.ParseFloat(string(m[1]), 64); err == nil {
			total += v
		}
	}
	return int(total)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
