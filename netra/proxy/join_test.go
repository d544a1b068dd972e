package proxy

import (
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/netra/trace"
)

// app is the application behind the proxy: it holds requests until told to
// answer, and makes requests of its own.
type app struct {
	t *testing.T
	*rig
}

type inFlight struct {
	client, server *net.TCPConn
	head           string
}

func newApp(t *testing.T) *app {
	return &app{t: t, rig: start(t)}
}

// request sends one request to the application and returns when it is there.
func (a *app) request(fields string) *inFlight {
	a.t.Helper()
	client, server := pair(a.t, a.rig)
	send(a.t, client, "GET /in HTTP/1.1\r\nHost: app\r\n"+fields+"\r\n")
	return &inFlight{client, server, readHead(a.t, server)}
}

// answer completes it.
func (a *app) answer(f *inFlight) {
	a.t.Helper()
	send(a.t, f.server, empty)
	expect(a.t, f.client, empty)
}

// call makes an outbound request and returns its span and the head that the
// called service received.
func (a *app) call(fields string) (trace.Span, string) {
	a.t.Helper()
	a.spans.mu.Lock()
	before := len(a.spans.spans)
	a.spans.mu.Unlock()
	heads := make(chan string, 1)
	a.to(serving(a.t, func(conn *net.TCPConn) {
		heads <- readHead(a.t, conn)
		send(a.t, conn, empty)
	}))
	out := dial(a.t, a.outbound)
	send(a.t, out, "GET /out HTTP/1.1\r\nHost: other\r\n"+fields+"\r\n")
	expect(a.t, out, empty)
	out.Close()
	return a.spans.wait(a.t, before+1)[before], <-heads
}

var traceparent = regexp.MustCompile(`(?i)traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-01`)

func contextOf(t *testing.T, head string) (traceID, span string) {
	t.Helper()
	m := traceparent.FindStringSubmatch(head)
	if m == nil {
		t.Fatalf("no traceparent in %q", head)
	}
	return m[1], m[2]
}

func field(head, name string) string {
	for line := range strings.SplitSeq(head, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return value
		}
	}
	return ""
}

func (a *app) expectLink(fields string, link trace.Link, parent *inFlight) {
	a.t.Helper()
	span, head := a.call(fields)
	if got := tag(span, "netra.link"); got != string(link) {
		a.t.Fatalf("netra.link = %v, want %s", got, link)
	}
	if parent == nil {
		if span.Context.Parent != 0 {
			a.t.Errorf("the span has parent %x, want a root", span.Context.Parent)
		}
		return
	}
	traceID, spanID := contextOf(a.t, parent.head)
	outTrace, outSpan := contextOf(a.t, head)
	if outTrace != traceID || outSpan == spanID || hex16(span.Context.Parent) != spanID || hex16(span.Context.Span) != outSpan {
		a.t.Errorf("joined to %x of %s; the request was %s of %s", span.Context.Parent, outTrace, spanID, traceID)
	}
}

func hex16(v uint64) string {
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range b {
		b[15-i] = digits[v>>(4*i)&15]
	}
	return string(b[:])
}

func TestJoinsTheOnlyRequestInFlight(t *testing.T) {
	a := newApp(t)
	a.expectLink("", trace.LinkNone, nil)
	one := a.request("")
	a.expectLink("", trace.LinkInferred, one)
	two := a.request("")
	a.expectLink("", trace.LinkAmbiguous, nil)
	a.answer(one)
	a.expectLink("", trace.LinkLikely, two) // or what the application goes on with after the answer
	a.answer(two)
	a.expectLink("", trace.LinkNone, nil)
}

func TestJoinsByWhatTheApplicationForwards(t *testing.T) {
	a := newApp(t)
	one, two := a.request(""), a.request("X-Request-Id: mine\r\n")
	a.expectLink("traceparent: "+field(one.head, "traceparent")+"\r\n", trace.LinkHeaders, one)
	a.expectLink("uber-trace-id: "+field(two.head, "uber-trace-id")+"\r\n", trace.LinkHeaders, two)
	a.expectLink("x-request-id: mine\r\n", trace.LinkRequestID, two)
	a.expectLink("x-request-id: "+field(one.head, "X-Request-Id")+"\r\n", trace.LinkRequestID, one)
	a.expectLink("x-request-id: unknown\r\n", trace.LinkAmbiguous, nil)
	a.answer(one)
	a.answer(two)
	a.expectLink("x-request-id: mine\r\n", trace.LinkRequestID, two) // for a while after its end
}

func TestRequestsWithTheSameIDInDifferentTraces(t *testing.T) {
	a := newApp(t)
	a.request("X-Request-Id: same\r\n")
	a.request("X-Request-Id: same\r\n")
	a.expectLink("X-Request-Id: same\r\n", trace.LinkAmbiguous, nil)
}

func TestAbandonedRequestIsNotMistakenForAnother(t *testing.T) {
	a := newApp(t)
	gone := a.request("")
	reset(gone.client)
	expectReset(t, gone.server)
	a.spans.wait(t, 1)
	// The application may still be at work for the one that is gone.
	a.request("")
	a.expectLink("", trace.LinkAmbiguous, nil)
}

func TestUnseenProtocolMakesInferenceAmbiguous(t *testing.T) {
	a := newApp(t)
	a.request("")
	client, server := pair(t, a.rig)
	send(t, client, "\x16\x03\x01\x00\x05hello")
	expect(t, server, "\x16\x03\x01\x00\x05hello")
	a.expectLink("", trace.LinkAmbiguous, nil)
}

func TestProbesPassUntouched(t *testing.T) {
	a := newApp(t)
	probe := a.request("User-Agent: kube-probe/1.36\r\n")
	if want := "GET /in HTTP/1.1\r\nHost: app\r\nUser-Agent: kube-probe/1.36\r\n\r\n"; probe.head != want {
		t.Errorf("the application received %q", probe.head)
	}
	a.expectLink("", trace.LinkNone, nil)
	a.answer(probe)
	a.spans.wait(t, 1) // the call's
	var text strings.Builder
	a.metrics.WriteTo(&text)
	if strings.Contains(text.String(), `netra_requests_total{direction="inbound"`) {
		t.Error("the probe was counted")
	}
}

func TestTraceHeadersAreRewrittenInPlace(t *testing.T) {
	a := newApp(t)
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	f := a.request("A: 1\r\nTraceParent:  00-" + trace + "-" + span + "-01 \r\nB: 2\r\nX-Request-Id: r\r\n")
	gotTrace, gotSpan := contextOf(t, strings.ReplaceAll(f.head, ":  ", ": "))
	if gotTrace != trace || gotSpan == span {
		t.Errorf("trace %s, span %s", gotTrace, gotSpan)
	}
	want := "GET /in HTTP/1.1\r\nHost: app\r\nA: 1\r\nTraceParent:  00-" + trace + "-" + gotSpan + "-01 \r\nB: 2\r\nX-Request-Id: r\r\n" +
		"uber-trace-id: " + trace + ":" + gotSpan + ":" + span + ":1\r\n\r\n"
	if f.head != want {
		t.Errorf("the application received\n%q\nwant\n%q", f.head, want)
	}
	a.answer(f)
	if s := a.spans.wait(t, 1)[0]; hex16(s.Context.Parent) != span || s.Name != "GET /in" {
		t.Errorf("span = %+v", s)
	}
}
