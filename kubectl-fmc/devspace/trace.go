package devspace

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/manifests"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Trace is one trace, its spans by start.
type Trace struct {
	ID    string `json:"traceID"`
	Spans []Span `json:"spans"`
}

// Span is one span of a trace.
type Span struct {
	ID        string         `json:"spanID"`
	Parent    string         `json:"parentSpanID,omitempty"`
	Service   string         `json:"service"`
	Operation string         `json:"operation"`
	Start     time.Time      `json:"start"`
	Micros    int64          `json:"durationMicros"`
	Tags      map[string]any `json:"tags,omitempty"`
}

// TraceConfig says which traces to get.
type TraceConfig struct {
	// ID names one; else the last Limit ones are got.
	ID string
	// Service is one that takes part in them; empty means any of the devspace.
	Service, Devspace string
	Limit             int
}

// traceLookback is how far back the last traces are looked for.
const traceLookback = 24 * time.Hour

// Traces gets traces from the installation's Jaeger, the newest first.
func (c *Client) Traces(ctx context.Context, cfg TraceConfig) ([]Trace, error) {
	if cfg.ID != "" {
		traces, err := c.jaeger(ctx, "/api/traces/"+cfg.ID, nil)
		if err == nil && len(traces) == 0 {
			err = fmt.Errorf("no trace %s", cfg.ID)
		}
		return traces, err
	}
	services := []string{cfg.Service}
	if cfg.Service == "" {
		status, err := c.Status(ctx, cfg.Devspace, "")
		if err != nil {
			return nil, err
		}
		services = nil
		for _, s := range status.Services {
			services = append(services, s.Name)
		}
	}
	var found []Trace
	for _, service := range services {
		traces, err := c.jaeger(ctx, "/api/traces", map[string]string{
			// Another devspace may have a service of that name.
			"tags":    fmt.Sprintf(`{"k8s.namespace.name":%q}`, cfg.Devspace),
			"service": service, "limit": fmt.Sprint(cfg.Limit), "lookback": "custom",
			"start": fmt.Sprint(time.Now().Add(-traceLookback).UnixMicro()), "end": fmt.Sprint(time.Now().Add(time.Minute).UnixMicro()),
		})
		if err != nil {
			return nil, err
		}
		found = append(found, traces...)
	}
	return newest(found, cfg.Limit), nil
}

// newest returns the limit traces that started last, each once.
func newest(traces []Trace, limit int) []Trace {
	slices.SortStableFunc(traces, func(a, b Trace) int { return b.start().Compare(a.start()) })
	traces = slices.CompactFunc(traces, func(a, b Trace) bool { return a.ID == b.ID })
	return traces[:min(limit, len(traces))]
}

func (t Trace) start() time.Time {
	if len(t.Spans) == 0 {
		return time.Time{}
	}
	return t.Spans[0].Start
}

// jaegerAnswer is that of Jaeger's query API.
type jaegerAnswer struct {
	Data []struct {
		TraceID   string
		Spans     []jaegerSpan
		Processes map[string]struct{ ServiceName string }
	}
	Errors []struct{ Msg string }
}

type jaegerSpan struct {
	SpanID        string
	OperationName string
	References    []struct{ RefType, SpanID string }
	StartTime     int64 // µs
	Duration      int64 // µs
	ProcessID     string
	Tags          []struct {
		Key   string
		Value any
	}
}

// jaeger asks Jaeger's query API through the API server.
func (c *Client) jaeger(ctx context.Context, path string, query map[string]string) ([]Trace, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	text, err := c.Kube.CoreV1().Services(api.SystemNamespace).ProxyGet("http", manifests.JaegerName, "16686", path, query).DoRaw(ctx)
	var answer jaegerAnswer
	switch {
	case apierrors.IsNotFound(err) && strings.HasPrefix(path, "/api/traces/") && !c.tracesElsewhere(ctx):
		return nil, nil // Jaeger has no such trace
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("this installation has no Jaeger of its own: look for traces where its --tracing-endpoint leads")
	case err != nil:
		return nil, explainForbidden(fmt.Errorf("asking Jaeger: %w", err), "reading traces needs the right to get services/proxy in namespace "+api.SystemNamespace)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("parsing Jaeger's answer: %w", err)
	}
	if len(answer.Errors) > 0 {
		return nil, fmt.Errorf("asking Jaeger: %s", answer.Errors[0].Msg)
	}
	var traces []Trace
	for _, d := range answer.Data {
		t := Trace{ID: d.TraceID}
		for _, s := range d.Spans {
			t.Spans = append(t.Spans, convertSpan(s, d.Processes[s.ProcessID].ServiceName))
		}
		slices.SortStableFunc(t.Spans, func(a, b Span) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(b.Micros, a.Micros)) })
		traces = append(traces, t)
	}
	return traces, nil
}

// tracesElsewhere tells whether the installation sends its spans to another
// place than a Jaeger of its own.
func (c *Client) tracesElsewhere(ctx context.Context) bool {
	installation, err := c.Installation(ctx)
	return err == nil && installation.TracingEndpoint != "" && installation.TracingEndpoint != JaegerEndpoint
}

func convertSpan(s jaegerSpan, service string) Span {
	span := Span{
		ID: s.SpanID, Service: service, Operation: s.OperationName,
		Start: time.UnixMicro(s.StartTime).UTC(), Micros: s.Duration, Tags: map[string]any{},
	}
	for _, r := range s.References {
		if r.RefType == "CHILD_OF" && span.Parent == "" {
			span.Parent = r.SpanID
		}
	}
	for _, tag := range s.Tags {
		span.Tags[tag.Key] = tag.Value
	}
	return span
}

// WriteText writes the trace as a tree.
func (t Trace) WriteText(out io.Writer) {
	known := map[string]bool{}
	for _, s := range t.Spans {
		known[s.ID] = true
	}
	children := map[string][]Span{}
	for _, s := range t.Spans {
		parent := s.Parent
		if !known[parent] {
			parent = "" // its parent is missing: show it as a root
		}
		children[parent] = append(children[parent], s)
	}
	fmt.Fprintf(out, "trace %s  %s  %s\n", t.ID, plural(len(t.Spans), "span"), t.start().Local().Format("2006-01-02 15:04:05"))
	width := 0
	walk(children, "", "", map[string]bool{}, func(prefix string, s Span) {
		width = max(width, len([]rune(prefix))+len(s.Service)+2+len([]rune(s.Operation)))
	})
	walk(children, "", "", map[string]bool{}, func(prefix string, s Span) {
		text := prefix + s.Service + "  " + s.Operation
		fmt.Fprintf(out, "%s%s  %s%s\n", text, strings.Repeat(" ", width-len([]rune(text))), micros(s.Micros), s.note())
	})
}

// walk visits spans below parent, depth first. Visited ones are left out, so
// that spans that name each other as parent do not go on for ever.
func walk(children map[string][]Span, parent, prefix string, visited map[string]bool, visit func(prefix string, s Span)) {
	spans := children[parent]
	for i, s := range spans {
		if visited[s.ID] {
			continue
		}
		visited[s.ID] = true
		own, below := "├─ ", "│  "
		if i == len(spans)-1 {
			own, below = "└─ ", "   "
		}
		visit(prefix+own, s)
		walk(children, s.ID, prefix+below, visited, visit)
	}
}

// note tells the span's kind, status and what else is out of the ordinary.
func (s Span) note() string {
	var notes []string
	for _, key := range []string{"span.kind", "http.status_code", "netra.link"} {
		if v, ok := s.Tags[key]; ok {
			notes = append(notes, fmt.Sprint(v))
		}
	}
	if s.Tags["error"] == true {
		notes = append(notes, "error")
	}
	if len(notes) == 0 {
		return ""
	}
	return "  " + strings.Join(notes, " ")
}

// micros prints a span's duration in a column.
func micros(n int64) string {
	return fmt.Sprintf("%9.2f ms", float64(n)/1000)
}
