package devspace

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
)

// Graph is who called whom, as the netras of a devspace counted it since their
// pods started.
type Graph struct {
	Devspace string `json:"devspace"`
	// Services are all deployed ones, also those without an edge.
	Services []string `json:"services"`
	Edges    []Edge   `json:"edges"`
	// Missing tells which pods are not counted, and why.
	Missing map[string]string `json:"missing,omitempty"`
}

// Edge is one service's requests to one peer.
type Edge struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	Requests float64 `json:"requests"`
	// Errors are those that were answered with 5xx or not at all.
	Errors float64            `json:"errors"`
	Codes  map[string]float64 `json:"codes"`
}

// Graph reads the counters of every netra in the devspace.
func (c *Client) Graph(ctx context.Context, devspace string) (Graph, error) {
	pods, err := c.servicePods(ctx, devspace, "")
	if err != nil {
		return Graph{}, err
	}
	pages := c.metrics(ctx, pods)
	g := Graph{Devspace: devspace, Services: []string{}, Edges: []Edge{}, Missing: map[string]string{}}
	edges := map[[2]string]*Edge{}
	for i := range pods {
		service := pods[i].Labels[api.LabelService]
		if !slices.Contains(g.Services, service) {
			g.Services = append(g.Services, service)
		}
		if pages[i].err != nil {
			g.Missing[pods[i].Name] = pages[i].err.Error()
			continue
		}
		if err := addEdges(edges, service, pages[i].text); err != nil {
			g.Missing[pods[i].Name] = err.Error()
		}
	}
	for _, e := range edges {
		g.Edges = append(g.Edges, *e)
	}
	slices.Sort(g.Services)
	slices.SortFunc(g.Edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return g, nil
}

type metricsPage struct {
	text []byte
	err  error
}

// metrics gets the page of each pod's netra, several at once.
func (c *Client) metrics(ctx context.Context, pods []corev1.Pod) []metricsPage {
	pages := make([]metricsPage, len(pods))
	sideBySide(len(pods), func(i int) {
		status, _ := injection(&pods[i])
		if !slices.Contains(status.Injected, api.InjectNetra) {
			pages[i].err = fmt.Errorf("it has no netra: %s", orElse(status.Skipped[api.InjectNetra], "it did not ask for it"))
			return
		}
		pages[i].text, pages[i].err = c.askNetra(ctx, &pods[i], "/metrics")
	})
	return pages
}

// netraAdminPort is where a pod's netra answers; an annotation may move it.
func netraAdminPort(pod *corev1.Pod) int {
	if port, err := strconv.Atoi(pod.Annotations[api.Domain+"/netra-admin-port"]); err == nil {
		return port
	}
	return api.NetraAdminPort
}

// addEdges adds what one netra counted of outbound requests.
func addEdges(edges map[[2]string]*Edge, from string, page []byte) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return fmt.Errorf("parsing metrics: %w", err)
	}
	family := families["netra_requests_total"]
	if family == nil {
		return nil
	}
	for _, metric := range family.GetMetric() {
		labels := map[string]string{}
		for _, label := range metric.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		if labels["direction"] != "outbound" {
			continue
		}
		count := metric.GetCounter().GetValue() + metric.GetUntyped().GetValue()
		key := [2]string{from, labels["peer"]}
		if edges[key] == nil {
			edges[key] = &Edge{From: from, To: labels["peer"], Codes: map[string]float64{}}
		}
		e := edges[key]
		e.Requests += count
		e.Codes[labels["code"]] += count
		if code := labels["code"]; code == "5xx" || code == "none" {
			e.Errors += count
		}
	}
	return nil
}

// WriteText writes the graph for people, an edge a line.
func (g Graph) WriteText(out io.Writer) {
	if len(g.Edges) == 0 {
		fmt.Fprintln(out, "no requests between services yet")
	}
	from, to := 0, 0
	for _, e := range g.Edges {
		from, to = max(from, len(e.From)), max(to, len(e.To))
	}
	for _, e := range g.Edges {
		fmt.Fprintf(out, "%-*s → %-*s  %6.0f requests  %5.1f%% errors\n", from, e.From, to, e.To, e.Requests, e.share())
	}
	for _, pod := range sortedKeys(g.Missing) {
		fmt.Fprintf(out, "not counted: %s: %s\n", pod, g.Missing[pod])
	}
}

func (e Edge) share() float64 {
	if e.Requests == 0 {
		return 0
	}
	return 100 * e.Errors / e.Requests
}

// WriteDot writes the graph in Graphviz's language.
func (g Graph) WriteDot(out io.Writer) {
	fmt.Fprintf(out, "digraph %s {\n  rankdir=LR;\n  node [shape=box];\n", strconv.Quote(g.Devspace))
	for _, s := range g.Services {
		fmt.Fprintf(out, "  %s;\n", dotQuote(s))
	}
	for _, e := range g.Edges {
		color := ""
		if e.Errors > 0 {
			color = ", color=red"
		}
		fmt.Fprintf(out, "  %s -> %s [label=%s%s];\n", dotQuote(e.From), dotQuote(e.To), dotQuote(fmt.Sprintf("%.0f (%.1f%% errors)", e.Requests, e.share())), color)
	}
	fmt.Fprintln(out, "}")
}

// dotQuote quotes an id: only quotes and backslashes mean something in it.
func dotQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ").Replace(s) + `"`
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
