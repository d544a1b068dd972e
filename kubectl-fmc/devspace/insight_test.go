package devspace

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/testutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"
)

const page = `# HELP netra_requests_total HTTP requests.
# TYPE netra_requests_total counter
netra_requests_total{direction="inbound",peer="",code="2xx"} 9
netra_requests_total{direction="outbound",peer="stock",code="2xx"} 3
netra_requests_total{direction="outbound",peer="stock",code="5xx"} 1
netra_requests_total{direction="outbound",peer="pay \"it\"",code="none"} 2
`

func TestGraph(t *testing.T) {
	metrics := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
		}
		fmt.Fprint(w, page)
	}
	client := fakeClient(t, pods{"orders-1/14958": metrics, "orders-2/14958": metrics},
		servicePod("orders", "orders-1", corev1.ConditionTrue), servicePod("orders", "orders-2", corev1.ConditionTrue),
		servicePod("stock", "stock-1", corev1.ConditionTrue))
	g, err := client.Graph(t.Context(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Services) != 2 || len(g.Edges) != 2 || len(g.Missing) != 1 {
		t.Fatalf("graph = %+v", g)
	}
	if e := g.Edges[1]; e.From != "orders" || e.To != "stock" || e.Requests != 8 || e.Errors != 2 || e.Codes["2xx"] != 6 {
		t.Errorf("edge = %+v", e)
	}
	var text, dot bytes.Buffer
	g.Missing = nil
	g.WriteText(&text)
	g.WriteDot(&dot)
	testutil.Golden(t, "testdata/graph.golden.txt", text.Bytes())
	testutil.Golden(t, "testdata/graph.golden.dot", dot.Bytes())
}

func span(id, parent, service, operation string, at, micros int64, tags map[string]any) Span {
	return Span{ID: id, Parent: parent, Service: service, Operation: operation, Start: time.UnixMicro(at), Micros: micros, Tags: tags}
}

func TestTraceTree(t *testing.T) {
	trace := Trace{ID: "abc", Spans: []Span{
		span("1", "", "front", "GET /", 100, 5000, map[string]any{"span.kind": "server", "http.status_code": 200}),
		span("2", "1", "front", "GET /orders/{id}", 200, 4000, map[string]any{"span.kind": "client"}),
		span("3", "2", "orders", "GET /orders/{id}", 300, 3000, map[string]any{"error": true}),
		span("4", "1", "front", "GET /ads", 400, 1234567, nil),
		span("5", "lost", "ads", "GET /ads", 500, 10, nil),
		span("6", "7", "loop", "a", 600, 10, nil),
		span("7", "6", "loop", "b", 700, 10, nil),
	}}
	var out bytes.Buffer
	trace.WriteText(&out)
	text := strings.SplitN(out.String(), "\n", 2)[1] // the first line has the local time
	testutil.Golden(t, "testdata/trace.golden.txt", []byte(text))
}

func TestNewestTraces(t *testing.T) {
	at := func(id string, micros int64) Trace {
		return Trace{ID: id, Spans: []Span{span("1", "", "s", "o", micros, 1, nil)}}
	}
	got := newest([]Trace{at("a", 1), at("c", 3), at("b", 2), at("c", 3), {ID: "empty"}}, 2)
	if len(got) != 2 || got[0].ID != "c" || got[1].ID != "b" {
		t.Errorf("newest = %+v", got)
	}
}

// notFound is what a Service that is not there, or a Jaeger without the trace,
// answers through the API server.
type notFound struct{ rest.ResponseWrapper }

func (notFound) DoRaw(context.Context) ([]byte, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, "jaeger")
}

func TestTraceWithoutAnOwnJaeger(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://collector.tracing:14268/api/traces": "no Jaeger of its own",
		JaegerEndpoint: "no trace abc",
	} {
		installation := installed()
		installation.Data["tracingEndpoint"] = endpoint
		client := fakeClient(t, nil, installation)
		client.Kube.(*fake.Clientset).AddProxyReactor("services", func(k8stesting.Action) (bool, rest.ResponseWrapper, error) {
			return true, notFound{}, nil
		})
		_, err := client.Traces(t.Context(), TraceConfig{ID: "abc", Devspace: "mine"})
		wantError(t, "trace with spans going to "+endpoint, err, want)
	}
}

func TestCopyLines(t *testing.T) {
	var out bytes.Buffer
	long := strings.Repeat("x", maxLine+10)
	if err := copyLines(&out, strings.NewReader("a\n\nb\n"+long+"\nlast"), "pod ", nil); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "pod a\npod \npod b\npod x") || !strings.HasSuffix(got, "\npod last\n") {
		t.Errorf("copied %.40q … %q", got, got[len(got)-20:])
	}
}
