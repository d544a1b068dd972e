package trace

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

func tags(s Span) string {
	var b strings.Builder
	for _, tag := range s.Tags {
		fmt.Fprintf(&b, "%s=%v\n", tag.Key, tag.Value)
	}
	return b.String()
}

func TestSpanOfAnInboundRequest(t *testing.T) {
	tracer, exported := newTracer(func(s *Settings) {
		s.HeaderTags = map[string]string{"x-tenant": "tenant", "user-agent": "agent"}
		s.CookieTags = map[string]string{"session": "session"}
	})
	request, _ := tracer.Begin(Inbound, head("POST", "/orders/17?q=1", "Host: orders:80", "User-Agent: curl", "X-Tenant: acme",
		"X-Request-Id: r-1", "X-Source: web", "Cookie: a=b; session=s=1; c"))
	request.Answered(503)
	request.End(Result{RequestBytes: 5, ResponseBytes: 7})
	want := `span.kind=server
component=netra
http.method=POST
http.target=/orders/17?q=1
http.path=/orders/17
peer.address=10.1.2.3:4567
http.host=orders:80
http.user_agent=curl
http.request_id=r-1
peer.service=web
agent=curl
tenant=acme
session=s=1
http.request_size=5
http.response_size=7
http.status_code=503
error=true
`
	if len(exported.spans) != 1 || exported.spans[0].Name != "POST /orders/{id}" || tags(exported.spans[0]) != want {
		t.Errorf("spans %+v\nwant %s", exported.spans, want)
	}
}

func TestSpanOfAnOutboundRequest(t *testing.T) {
	tracer, exported := newTracer(func(s *Settings) { s.SourceValue = "orders" })
	request, edits := tracer.Begin(Outbound, head("GET", "/pay", "Host: payments.shop.svc.cluster.local:80", "x-source: web"))
	request.End(Result{Reason: ReasonReset})
	want := `span.kind=client
component=netra
http.method=GET
http.target=/pay
http.path=/pay
peer.address=[fd00::1]:80
http.host=payments.shop.svc.cluster.local:80
peer.service=payments
netra.link=none
http.request_size=0
http.response_size=0
error.reason=connection reset
error=true
`
	if len(exported.spans) != 1 || tags(exported.spans[0]) != want {
		t.Errorf("spans %+v\nwant %s", exported.spans, want)
	}
	if got := written(edits); got != "=X-Source traceparent uber-trace-id" {
		t.Errorf("edits %s", got)
	}
	var b bytes.Buffer
	tracer.metrics.WriteTo(&b)
	for _, line := range []string{
		`netra_requests_total{direction="outbound",peer="payments",code="none"} 1`,
		`netra_request_duration_seconds_count{direction="outbound",peer="payments",code="none"} 1`,
		`netra_links_total{link="none"} 1`,
		`netra_spans_total 1`,
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

func TestIgnoredPathsHaveNoSpans(t *testing.T) {
	tracer, exported := newTracer(func(s *Settings) { s.IgnoredPaths = []string{"/health"} })
	for _, direction := range []Direction{Inbound, Outbound} {
		request, edits := tracer.Begin(direction, head("GET", "/health?x", "Host: a"))
		request.End(Result{})
		if len(edits) > 0 {
			t.Errorf("%s: edits %v", direction, edits)
		}
	}
	request, _ := tracer.Begin(Inbound, head("GET", "/health/deep"))
	request.End(Result{})
	if len(exported.spans) != 1 {
		t.Errorf("%d spans, want that of /health/deep alone", len(exported.spans))
	}
	if n := tracer.metrics.Requests.Value(metrics.Request{Direction: "outbound", Peer: "a", Code: "none"}); n != 1 {
		t.Errorf("an ignored path counts %d times as traffic, want 1", n)
	}
}

func TestSilentRequestsAreInFlight(t *testing.T) {
	tracer, exported := newTracer(nil)
	tracer.Begin(Inbound, head("GET", "/a"))
	tracer.Begin(Inbound, head("GET", "/ready", "User-Agent: kube-probe/1.36"))
	out, _ := tracer.Begin(Outbound, head("GET", "/b"))
	out.End(Result{})
	if !strings.Contains(tags(exported.spans[0]), "netra.link=ambiguous") {
		t.Errorf("a call made beside a probe is joined: %s", tags(exported.spans[0]))
	}
}

func TestRequestIDs(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 100 {
		id := string(appendRequestID(nil))
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("the request id %q", id)
		}
		seen[id] = true
	}
}

// clock is a time that tests move.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func (c *clock) pass(d time.Duration) { c.Time = c.Add(d) }

func TestContextsExpire(t *testing.T) {
	tracer, exported := newTracer(nil)
	c := &clock{time.Unix(1e9, 0)}
	tracer.now = c.now
	link := func() string {
		request, _ := tracer.Begin(Outbound, head("GET", "/", "X-Request-Id: r"))
		request.End(Result{})
		return regexp.MustCompile(`netra.link=(\S+)`).FindStringSubmatch(tags(exported.spans[len(exported.spans)-1]))[1]
	}
	in, _ := tracer.Begin(Inbound, head("GET", "/", "X-Request-Id: r"))
	c.pass(time.Hour)
	tracer.contexts.clean(c.now())
	if got := link(); got != "request-id" {
		t.Errorf("in flight for an hour: %s", got)
	}
	in.End(Result{})
	c.pass(4999 * time.Millisecond)
	if got := link(); got != "request-id" {
		t.Errorf("within the expiration: %s", got)
	}
	c.pass(time.Millisecond)
	if got := link(); got != "none" {
		t.Errorf("after the expiration: %s", got)
	}
	if tracer.contexts.clean(c.now()); len(tracer.contexts.byID) != 0 {
		t.Error("an expired context was not removed")
	}
}

func TestUnseenRequestsAreForgotten(t *testing.T) {
	tracer, _ := newTracer(nil)
	c := &clock{time.Unix(1e9, 0)}
	tracer.now = c.now
	tracer.Unseen()
	tracer.Begin(Inbound, head("GET", "/"))
	if _, link := tracer.flights.infer(c.now(), 5*time.Second, InferLikely); link != LinkAmbiguous {
		t.Errorf("link = %s, want ambiguous", link)
	}
	c.pass(5 * time.Second)
	if _, link := tracer.flights.infer(c.now(), 5*time.Second, InferLikely); link != LinkInferred {
		t.Errorf("link = %s, want inferred", link)
	}
}

func TestContextsAreBounded(t *testing.T) {
	var c contexts
	for i := range maxContexts + 10 {
		c.begin([]byte(fmt.Sprint(i)), Context{TraceLow: 1, Span: 1})
		c.find([]byte("0"), time.Time{}) // stays in use
	}
	if len(c.byID) != maxContexts {
		t.Errorf("%d contexts, want %d", len(c.byID), maxContexts)
	}
	if _, _, ok := c.find([]byte("0"), time.Time{}); !ok {
		t.Error("the one in use was forgotten")
	}
	if _, _, ok := c.find([]byte("1"), time.Time{}); ok {
		t.Error("the least recently used was kept")
	}
	long := bytes.Repeat([]byte("x"), maxRequestID+1)
	c.begin(long, Context{TraceLow: 1, Span: 1})
	if _, _, ok := c.find(long, time.Time{}); len(c.byID) != maxContexts || ok {
		t.Error("an id of any length is kept")
	}
}

// A request that never reached the application cannot be what it works on: the
// next one is the only one in flight.
func TestUnsentRequestIsNoOrigin(t *testing.T) {
	for _, c := range []struct {
		result Result
		link   Link
	}{
		{Result{Reason: "destination refused", Unsent: true}, LinkInferred},
		{Result{Reason: ReasonClientReset}, LinkAmbiguous},
	} {
		tr, exported := newTracer(nil)
		first, _ := tr.Begin(Inbound, head("GET", "/first"))
		first.End(c.result)
		tr.Begin(Inbound, head("GET", "/second"))
		out, _ := tr.Begin(Outbound, head("GET", "/out"))
		out.End(Result{})
		last := exported.spans[len(exported.spans)-1]
		if got := tags(last); !strings.Contains(got, "netra.link="+string(c.link)) {
			t.Errorf("after %+v the request out has %s, want the link %s", c.result, got, c.link)
		}
	}
}

// What an application goes on with after an answer may be mistaken for the next
// user's: such links are said to be likely, and are made only where that will do.
func TestAnsweredRequestsMakeTheNextOnesLikely(t *testing.T) {
	const page = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	const other = "traceparent: 00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-01"
	type step struct {
		path   string
		fields []string
		after  time.Duration // the time since the step before
		link   Link
	}
	for _, c := range []struct {
		name   string
		degree Inference
		steps  []step
	}{
		{"two users", InferLikely, []step{{"/", nil, 0, LinkInferred}, {"/", nil, 0, LinkLikely}, {"/", nil, 4999 * time.Millisecond, LinkLikely}, {"/", nil, 5 * time.Second, LinkInferred}}},
		{"one trace", InferLikely, []step{{"/", []string{page}, 0, LinkInferred}, {"/", []string{page}, 0, LinkInferred}, {"/", []string{other}, 0, LinkLikely}, {"/", []string{other}, 0, LinkLikely}, {"/", []string{other}, 5 * time.Second, LinkInferred}, {"/", []string{other}, 0, LinkInferred}}},
		{"traces in turn", InferLikely, []step{{"/", []string{page}, 0, LinkInferred}, {"/", []string{other}, 0, LinkLikely}, {"/", []string{page}, 0, LinkLikely}, {"/", []string{other}, 5 * time.Second, LinkInferred}, {"/", []string{page}, 0, LinkLikely}}},
		{"an ignored path", InferLikely, []step{{"/ignored", nil, 0, LinkNone}, {"/", []string{page}, 0, LinkLikely}, {"/", []string{page}, 5 * time.Second, LinkInferred}}},
		{"a probe", InferLikely, []step{{"/", []string{"User-Agent: kube-probe/1.36"}, 0, LinkNone}, {"/", nil, 0, LinkInferred}}},
		{"certain", InferCertain, []step{{"/", nil, 0, LinkInferred}, {"/", nil, 0, LinkAmbiguous}, {"/", nil, 5 * time.Second, LinkInferred}}},
		{"off", InferOff, []step{{"/", nil, 0, LinkNone}, {"/", nil, 0, LinkNone}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, exported := newTracer(func(s *Settings) {
				s.Expiration, s.IgnoredPaths, s.Inference = 5*time.Second, []string{"/ignored"}, c.degree
			})
			now := &clock{time.Unix(1e9, 0)}
			tr.now = now.now
			for i, s := range c.steps {
				now.pass(s.after)
				in, _ := tr.Begin(Inbound, head("GET", s.path, s.fields...))
				out, _ := tr.Begin(Outbound, head("GET", "/out"))
				out.End(Result{})
				span := exported.spans[len(exported.spans)-1]
				if got := tags(span); !strings.Contains(got, "netra.link="+string(s.link)) {
					t.Errorf("step %d: %s, want the link %s", i, got, s.link)
				}
				if joined := s.link == LinkInferred || s.link == LinkLikely; joined != (span.Context.Parent != 0 && span.Context.Parent == in.context.Span) {
					t.Errorf("step %d: link %s and parent %x of %x", i, s.link, span.Context.Parent, in.context.Span)
				}
				in.End(Result{})
			}
		})
	}
}

// Without an exporter the application's own traces stay what they are.
func TestNothingIsWrittenWithoutAnExporter(t *testing.T) {
	set := metrics.New("")
	tracer := New(Settings{RequestIDHeader: "X-Request-Id", SourceHeader: "X-Source", SourceValue: "orders", Propagation: []Format{W3C}, Expiration: time.Minute}, Discard{}, set)
	head := Head{Method: []byte("GET"), Target: []byte("/"), Fields: func(yield func(name, value []byte) bool) {
		yield([]byte("traceparent"), []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	}}
	in, edits := tracer.Begin(Inbound, head)
	if len(edits) > 0 {
		t.Errorf("inbound: %v", edits)
	}
	head.Server = netip.MustParseAddrPort("10.0.0.9:8080")
	out, edits := tracer.Begin(Outbound, head)
	if len(edits) != 1 || edits[0].Name != "X-Source" {
		t.Errorf("outbound: %v", edits)
	}
	out.Answered(200)
	out.End(Result{})
	in.Answered(200)
	in.End(Result{})
	for _, direction := range []string{"inbound", "outbound"} {
		if n := set.Requests.Value(metrics.Request{Direction: direction, Code: "2xx", Peer: map[string]string{"outbound": "10.0.0.9"}[direction]}); n != 1 {
			t.Errorf("%d %s requests counted", n, direction)
		}
	}
}

// What the kubelet asks is counted apart, and what an application does for it is
// nobody's.
func TestKubeletsRequests(t *testing.T) {
	for agent, kind := range map[string]string{
		"kube-probe/1.36": metrics.ProbeHTTP, "kube-probe/1.36 grpc-go/1.84.0": metrics.ProbeHTTP, "kube-lifecycle/1.36": metrics.ProbeHook,
	} {
		tracer, exported := newTracer(nil)
		request, edits := tracer.Begin(Inbound, head("GET", "/ready", "User-Agent: "+agent))
		call, _ := tracer.Begin(Outbound, head("GET", "/b"))
		call.End(Result{})
		request.Answered(503)
		request.End(Result{})
		if len(edits) > 0 {
			t.Errorf("%s: edits %v", agent, edits)
		}
		if len(exported.spans) != 1 || !strings.Contains(tags(exported.spans[0]), "netra.link=none") {
			t.Errorf("%s: spans %v, want that of the call alone, a root", agent, exported.spans)
		}
		if n := tracer.metrics.Probes.Value(metrics.Probe{Kind: kind, Code: "5xx"}); n != 1 {
			t.Errorf("%s counts %d times as %s", agent, n, kind)
		}
		if n := tracer.metrics.Requests.Value(metrics.Request{Direction: "inbound", Code: "5xx"}); n != 0 {
			t.Errorf("%s counts %d times as traffic", agent, n)
		}
	}
	for _, agent := range []string{"", "kube-prober/1", "mine kube-probe/1.36", "Kube-Probe/1.36", "kube-lifecycle"} {
		tracer, _ := newTracer(nil)
		request, edits := tracer.Begin(Inbound, head("GET", "/ready", "User-Agent: "+agent))
		request.End(Result{})
		if len(edits) == 0 || tracer.metrics.Requests.Value(metrics.Request{Direction: "inbound", Code: "none"}) != 1 {
			t.Errorf("%q is taken for the kubelet", agent)
		}
	}
}

// A kubelet hangs up in the middle of a long answer, and every few seconds; the
// requests of others do not become ambiguous by it. One that was not answered may
// still be at work.
func TestProbesThatEndEarly(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*Request)
		want Link
	}{
		{"answered", func(r *Request) { r.Answered(200); r.End(Result{Reason: ReasonClientReset}) }, LinkInferred},
		{"refused", func(r *Request) { r.End(Result{Reason: "destination refused", Unsent: true}) }, LinkInferred},
		{"timed out", func(r *Request) { r.End(Result{Reason: ReasonClientReset}) }, LinkAmbiguous},
	} {
		tracer, exported := newTracer(nil)
		probe, _ := tracer.Begin(Inbound, head("GET", "/", "User-Agent: kube-probe/1.36"))
		test.end(probe)
		tracer.Begin(Inbound, head("GET", "/a"))
		call, _ := tracer.Begin(Outbound, head("GET", "/b"))
		call.End(Result{})
		if got := tags(exported.spans[0]); !strings.Contains(got, "netra.link="+string(test.want)) {
			t.Errorf("%s: %s, want link %s", test.name, got, test.want)
		}
	}
}
