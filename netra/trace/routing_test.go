package trace

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

func repeat(n int) string {
	var pairs []string
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("h%d=t%d", i, i))
	}
	return strings.Join(pairs, ",")
}

func TestParseRoutes(t *testing.T) {
	const bad = "malformed"
	tests := []struct{ value, host, want string }{
		{"", "a", ""},
		{" , ,", "a", ""},
		{"a=b", "a", "b"},
		{"a=b", "A:8080", "b"},
		{"A.Shop.=B.Shop.", "a.shop.:80", "b.shop"},
		{" a = b , c\t=\td ,", "c", "d"},
		{"a=b,c=d", "e", ""},
		{"a=b,a=c", "a", "b"},
		{"a=a,a=c", "a", "c"},
		{"a=a:81", "a", "a:81"},
		{"a:8080=b:9090", "a:8080", "b:9090"},
		{"a:8080=b:9090", "a", ""},
		{"a:8080=b:9090", "a:80", ""},
		{"a=10.0.0.7:80", "a", "10.0.0.7:80"},
		{"a=[fd00::0:1]", "a", "fd00::1"},
		{"[fd00::1]=[fd00::2]:81", "[fd00:0::1]:80", "[fd00::2]:81"},
		{"a_b-c=d", "a_b-c", "d"},
		{repeat(64), "h63", "t63"},
		{"a=b", "", ""},
		{"a=b", "a:b", ""},
		{repeat(65), "h1", bad},
		{strings.Repeat(",", maxRoutes) + "a=b", "a", bad},
		{"a=" + strings.Repeat("b", 254), "a", bad},
		{"a", "a", bad},
		{"a=", "a", bad},
		{"=b", "b", bad},
		{"a=b=c", "a", bad},
		{"a=b;c=d", "a", bad},
		{"a=b c", "a", bad},
		{"a=http://b", "a", bad},
		{"a=b:0", "a", bad},
		{"a=b:65536", "a", bad},
		{"a=b:", "a", bad},
		{"a=b:+80", "a", bad},
		{"a=b:80:80", "a", bad},
		{"a=fd00::1", "a", bad},
		{"a=[fd00::1", "a", bad},
		{"a=[fd00::1]80", "a", bad},
		{"a=[fe80::1%eth0]", "a", bad},
		{"a=[10.0.0.7]", "a", bad},
		{"a=.b", "a", bad},
		{"a=b..c", "a", bad},
		{"a=-b", "a", bad},
		{"a=b\r\nX: y", "a", bad},
		{"a=b\x00", "a", bad},
		{"a=é", "a", bad},
	}
	for _, tt := range tests {
		list, ok := parseRoutes(tt.value)
		got := list.find(tt.host).String()
		if !ok {
			got = bad
		}
		if got != tt.want {
			t.Errorf("%.60q sends %q to %q, want %q", tt.value, tt.host, got, tt.want)
		}
	}
}

func TestCookie(t *testing.T) {
	for field, want := range map[string]string{
		"":                              "",
		"r=a=b":                         "a=b",
		"x=y; r=a=b,c=d; z":             "a=b,c=d",
		"R=no; r":                       "",
		`r="a=b"`:                       "a=b",
		"r=a%3Db%2cc%3Dd":               "a=b,c=d",
		"r=%zz":                         "%zz",
		"r=" + strings.Repeat("%", 1e6): strings.Repeat("%", 3*maxRoutes+1),
	} {
		if got := cookie([]byte(field), "r"); got != want {
			t.Errorf("of %.40q the cookie is %.40q, want %.40q", field, got, want)
		}
	}
}

func newRouted(change func(*Settings)) (*Tracer, *recorder, *clock) {
	tracer, exported := newTracer(func(s *Settings) {
		s.Routing = Routing{Header: "X-Route", Cookie: "route", Expiration: time.Second, CleanupInterval: time.Second}
		s.IgnoredPaths = []string{"/ignored"}
		if change != nil {
			change(s)
		}
	})
	c := &clock{time.Unix(1e9, 0)}
	tracer.now = c.now
	return tracer, exported, c
}

// upstreamOf makes an outbound request to a and returns where it goes and what
// is written of its route.
func upstreamOf(t *Tracer, target string, lines ...string) string {
	request, edits := t.Begin(Outbound, head("GET", target, append(lines, "Host: a")...))
	text := request.Upstream().String()
	for _, e := range edits {
		if e.Name == "X-Route" {
			text += fmt.Sprintf(" %s %v", e.Value, e.Replace)
		}
	}
	request.End(Result{})
	return text
}

func TestOwnRoutes(t *testing.T) {
	for lines, want := range map[string]string{
		"X-Route: a=b":                             "b",
		"x-route: c=d":                             "",
		"X-Route: a=b|Cookie: route=a=c":           "c",
		"X-Route: a=b|Cookie: route=rubbish":       "b",
		"X-Route: a=b|Cookie: route=":              "b",
		"X-Route: rubbish|Cookie: route=a=c":       "c",
		"X-Route: a=b|X-Route: a=c":                "",
		"X-Route: " + strings.Repeat("a=b,", 4000): "",
	} {
		tracer, _, _ := newRouted(nil)
		if got := upstreamOf(tracer, "/", strings.Split(lines, "|")...); got != want {
			t.Errorf("%.60q: %q, want %q", lines, got, want)
		}
	}
}

func TestRoutingIsOffByDefault(t *testing.T) {
	tracer, _ := newTracer(nil)
	tracer.Begin(Inbound, head("GET", "/", "X-Route: a=b"))
	if got := upstreamOf(tracer, "/", "X-Route: a=b"); got != "" {
		t.Errorf("goes to %s", got)
	}
}

// Routes do not need spans, and are joined where these are.
func TestRoutesAreJoined(t *testing.T) {
	const parent = "traceparent: 00-" + traceID + "-" + spanID + "-01"
	tests := []struct{ name, in, out, want string }{
		{"inferred", "X-Route: a=b", "", "b a=b false"},
		{"by request id", "X-Request-Id: r|X-Route: a=b", "X-Request-Id: r", "b a=b false"},
		{"by trace", parent + "|X-Route: a=b", parent, "b a=b false"},
		{"of another trace", "X-Route: a=b", parent, ""},
		{"of another trace, by request id", "X-Request-Id: r|X-Route: a=b", parent + "|X-Request-Id: r", "b a=b false"},
		{"in the place of rubbish", "X-Route: a=b", "X-Route: ?", "b a=b true"},
		{"carried on", "X-Route: x=y", "", " x=y false"},
		{"from a cookie", "Cookie: route=a=b", "", "b a=b false"},
		{"none", "", "", ""},
	}
	for _, tt := range tests {
		for _, target := range []string{"/", "/ignored"} {
			tracer, exported, _ := newRouted(nil)
			in, _ := tracer.Begin(Inbound, head("GET", target, strings.Split(tt.in, "|")...))
			if got := upstreamOf(tracer, target, strings.Split(tt.out, "|")...); got != tt.want {
				t.Errorf("%s, %s: %q, want %q", tt.name, target, got, tt.want)
			}
			in.End(Result{})
			if spans := len(exported.spans); target == "/ignored" && spans != 0 {
				t.Errorf("%s: %d spans", target, spans)
			}
		}
	}
}

func TestRoutesOfSeveralRequests(t *testing.T) {
	tracer, _, c := newRouted(nil)
	one, _ := tracer.Begin(Inbound, head("GET", "/", "X-Request-Id: same", "X-Route: a=b"))
	two, _ := tracer.Begin(Inbound, head("GET", "/", "X-Request-Id: same", "X-Route: a=c"))
	if got := upstreamOf(tracer, "/"); got != "" {
		t.Errorf("which of two it belongs to was guessed: %s", got)
	}
	if got := upstreamOf(tracer, "/", "X-Request-Id: same"); got != "" {
		t.Errorf("of two routes one was chosen: %s", got)
	}
	one.End(Result{})
	two.End(Result{})
	third, _ := tracer.Begin(Inbound, head("GET", "/", "X-Request-Id: r", "X-Route: a=b"))
	third.End(Result{})
	c.pass(999 * time.Millisecond)
	if got := upstreamOf(tracer, "/", "X-Request-Id: r"); got != "b a=b false" {
		t.Errorf("within the expiration: %q", got)
	}
	c.pass(time.Millisecond)
	if got := upstreamOf(tracer, "/", "X-Request-Id: r"); got != "" {
		t.Errorf("after the expiration: %q", got)
	}
	if tracer.routing.kept.clean(c.now()); len(tracer.routing.kept.byID) != 0 || tracer.routing.kept.sizes != 0 {
		t.Errorf("%d keys of %d bytes are left", len(tracer.routing.kept.byID), tracer.routing.kept.sizes)
	}
}

func TestKeptRoutesAreBounded(t *testing.T) {
	tracer, _, _ := newRouted(nil)
	long := "X-Route: a=b" + strings.Repeat(",", 8000)
	for i := range 1000 {
		tracer.Begin(Inbound, head("GET", "/", fmt.Sprint("X-Request-Id: ", i), long))
	}
	if n := tracer.routing.kept.sizes; n > maxSizes || n < maxSizes/2 {
		t.Errorf("%d bytes are kept, the bound is %d", n, maxSizes)
	}
	if got := upstreamOf(tracer, "/", "X-Request-Id: 999"); !strings.HasPrefix(got, "b ") {
		t.Errorf("the last one goes to %.20q", got)
	}
}

func TestSpanOfARoutedRequest(t *testing.T) {
	tracer, exported, _ := newRouted(func(s *Settings) { s.Routing.Cookie = "" })
	request, _ := tracer.Begin(Outbound, head("GET", "/", "Host: a", "X-Route: a=orders.shop.svc:81"))
	request.Routed(netip.MustParseAddrPort("10.0.0.7:81"))
	request.End(Result{})
	if got := tags(exported.spans[0]); !strings.Contains(got, "peer.service=orders\nnetra.route=orders.shop.svc:81\npeer.address=10.0.0.7:81\n") ||
		strings.Count(got, "peer.") != 2 || !strings.Contains(got, "http.host=a\n") {
		t.Errorf("tags %s", got)
	}
	if n := tracer.metrics.Requests.Value(metrics.Request{Direction: "outbound", Peer: "orders", Code: "none"}); n != 1 {
		t.Errorf("%d requests to the route's server are counted", n)
	}
}

// What passes is safe to be written into a head, and stays what it is.
func FuzzRoutes(f *testing.F) {
	for _, seed := range []string{"a=b", "a:8080=b:9090, c=[fd00::1]:80", " , a = b.c. ,", "a=b=c", "\"a%3Db\""} {
		f.Add(seed, "a")
	}
	f.Fuzz(func(t *testing.T, value, host string) {
		list, ok := parseRoutes(value)
		if !ok {
			if list != "" {
				t.Fatalf("a malformed list gives %q", list)
			}
			return
		}
		if len(list) > maxRoutes || strings.ContainsFunc(string(list), func(c rune) bool { return c < ' ' && c != '\t' || c > '~' }) {
			t.Fatalf("%q passes", list)
		}
		if again, ok := parseRoutes(string(list)); !ok || again != list {
			t.Fatalf("%q becomes %q", list, again)
		}
		if to := list.find(host); to.Host != "" {
			if again, ok := parseUpstream(to.String()); to.Port != 0 && (!ok || again != to) {
				t.Fatalf("%+v becomes %+v", to, again)
			}
		}
		cookie([]byte(value), host)
	})
}
