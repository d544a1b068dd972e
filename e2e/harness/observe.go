package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Edge of the live graph.
type Edge struct{ From, To string }

// Graph returns the requests on each edge, as `kubectl fmc graph` counts them.
func (h *Harness) Graph(ctx context.Context, devspace string) (map[Edge]float64, error) {
	out, err := h.FMC(ctx, "graph", "-o", "json", "-n", devspace)
	if err != nil {
		return nil, err
	}
	var graph struct {
		Edges []struct {
			From, To string
			Requests float64
		}
	}
	if err := json.Unmarshal([]byte(out), &graph); err != nil {
		return nil, fmt.Errorf("parsing the graph: %w\n%s", err, out)
	}
	edges := map[Edge]float64{}
	for _, e := range graph.Edges {
		edges[Edge{e.From, e.To}] += e.Requests
	}
	return edges, nil
}

// Span of a trace, as Jaeger has it.
type Span struct {
	ID, Parent, Service, Operation, Kind, Link string
	Took                                       time.Duration
}

// Trace is one request's spans.
type Trace struct {
	ID    string
	Spans []Span
}

// jaegerTraces is the part of Jaeger's query answer that is read here.
type jaegerTraces struct {
	Data []struct {
		TraceID string
		Spans   []struct {
			SpanID, OperationName, ProcessID string
			Duration                         int64 // µs
			References                       []struct{ RefType, SpanID string }
			StartTime                        int64 // µs since 1970
			Tags                             []jaegerTag
		}
		Processes map[string]struct {
			ServiceName string
			Tags        []jaegerTag
		}
	}
}

type jaegerTag struct {
	Key   string
	Value any
}

// Traces asks Jaeger itself for a devspace's traces of a service that began
// after since, so that what the plugin shows is checked against its source.
func (h *Harness) Traces(ctx context.Context, devspace, service string, since time.Time) ([]Trace, error) {
	answer, err := h.Get(ctx, "fmc-system", "jaeger", 16686, fmt.Sprintf("/api/traces?service=%s&limit=20&lookback=custom&start=%d&end=%d&tags=%s",
		service, since.UnixMicro(), time.Now().Add(time.Minute).UnixMicro(), fmt.Sprintf(`{"k8s.namespace.name":%q}`, devspace)))
	if err != nil {
		return nil, err
	}
	if answer.Status != 200 {
		return nil, fmt.Errorf("asking jaeger for traces of %s: it answered %d: %s", service, answer.Status, answer.Body)
	}
	var found jaegerTraces
	if err := json.Unmarshal([]byte(answer.Body), &found); err != nil {
		return nil, fmt.Errorf("parsing jaeger's traces: %w", err)
	}
	var traces []Trace
	for _, d := range found.Data {
		trace := Trace{ID: d.TraceID}
		fresh := len(d.Spans) > 0
		for _, s := range d.Spans {
			fresh = fresh && s.StartTime >= since.UnixMicro()
			span := Span{ID: s.SpanID, Service: d.Processes[s.ProcessID].ServiceName, Operation: s.OperationName, Took: time.Duration(s.Duration) * time.Microsecond}
			for _, r := range s.References {
				if r.RefType == "CHILD_OF" {
					span.Parent = r.SpanID
				}
			}
			for _, tag := range s.Tags {
				switch tag.Key {
				case "span.kind":
					span.Kind = fmt.Sprint(tag.Value)
				case "netra.link":
					span.Link = fmt.Sprint(tag.Value)
				}
			}
			trace.Spans = append(trace.Spans, span)
		}
		if fresh {
			traces = append(traces, trace)
		}
	}
	return traces, nil
}

// WaitTrace waits for a trace that began after since and passed the services in
// order; netra reports spans every second.
func (h *Harness) WaitTrace(ctx context.Context, devspace string, since time.Time, limit time.Duration, services ...string) (Trace, error) {
	deadline := time.Now().Add(limit)
	var last error
	for {
		traces, err := h.Traces(ctx, devspace, services[0], since)
		for _, trace := range traces {
			if err := trace.CheckChain(services...); err == nil {
				return trace, nil
			} else if last == nil || len(trace.Spans) > 2 {
				last = err
			}
		}
		if err != nil {
			last = err
		}
		if time.Now().After(deadline) {
			return Trace{}, fmt.Errorf("waiting %s for one trace of %s: %w", limit, strings.Join(services, ", "), last)
		}
		select {
		case <-ctx.Done():
			return Trace{}, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// CheckChain says what is missing for the trace to be one request that passed
// the services in order: a server span in each, whose parent is a client span
// of the one before.
func (t Trace) CheckChain(services ...string) error {
	byID := map[string]Span{}
	for _, s := range t.Spans {
		byID[s.ID] = s
	}
	var faults []error
	for i, service := range services {
		var server *Span
		for _, s := range t.Spans {
			if s.Service == service && s.Kind == "server" {
				server = &s
			}
		}
		if server == nil {
			faults = append(faults, fmt.Errorf("no server span of %s", service))
			continue
		}
		if i == 0 {
			continue
		}
		client, there := byID[server.Parent]
		if !there || client.Service != services[i-1] || client.Kind != "client" {
			faults = append(faults, fmt.Errorf("the server span of %s is no child of a client span of %s", service, services[i-1]))
			continue
		}
		if above, there := byID[client.Parent]; !there || above.Service != services[i-1] || above.Kind != "server" {
			faults = append(faults, fmt.Errorf("the client span of %s is no child of its server span", services[i-1]))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("trace %s with %d spans: %w", t.ID, len(t.Spans), errors.Join(faults...))
	}
	return nil
}

// PortForward starts kubectl port-forward on a free loopback port and waits
// until it listens.
func (h *Harness) PortForward(ctx context.Context, namespace, target string, port int) (*Background, string, error) {
	b, err := h.StartKubectl(ctx, "port-forward", "-n", namespace, target, fmt.Sprintf(":%d", port), "--address=127.0.0.1")
	if err != nil {
		return nil, "", err
	}
	waiting, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	line, err := b.WaitLine(waiting, "Forwarding from 127.0.0.1:")
	if err != nil {
		b.Stop()
		return nil, "", err
	}
	_, address, _ := strings.Cut(line, "Forwarding from ")
	address, _, _ = strings.Cut(address, " ")
	if _, _, err := net.SplitHostPort(address); err != nil {
		b.Stop()
		return nil, "", fmt.Errorf("reading %q: %w", line, err)
	}
	return b, address, nil
}
