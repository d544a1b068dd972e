package proxy

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	h2spec "github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// serveHTTP2 runs net/http's server of HTTP/2 without TLS, and of HTTP/1.
func serveHTTP2(t *testing.T, handler http.Handler) net.Listener {
	t.Helper()
	l := listen(t)
	s := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l
}

// TestH2specGivesTheSameVerdicts runs h2spec's cases against a server, direct
// and as from pod to pod: out through one proxy, which inserts the trace headers,
// and in through another, which has to replace them.
func TestH2specGivesTheSameVerdicts(t *testing.T) {
	backend := serveHTTP2(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "hello from behind")
	}))
	server, client := start(t), start(t)
	server.to(backend)
	client.to(server.inbound)
	direct := h2specVerdicts(backend, 2*time.Second)
	passed := 0
	for _, v := range direct {
		if v == "passed" {
			passed++
		}
	}
	if len(direct) < 140 || passed < 130 {
		t.Fatalf("%d of %d cases pass without a proxy: the comparison would say little", passed, len(direct))
	}
	t.Logf("%d of %d cases pass without a proxy", passed, len(direct))
	var differ []string
	for id, verdict := range h2specVerdicts(client.outbound, 2*time.Second) {
		if verdict != direct[id] {
			differ = append(differ, id)
		}
	}
	if len(differ) == 0 {
		return
	}
	// A machine that was too busy for h2spec is no verdict.
	direct, proxied := h2specVerdicts(backend, patience, differ...), h2specVerdicts(client.outbound, patience, differ...)
	for _, id := range differ {
		if direct[id] != proxied[id] {
			t.Errorf("%s: %s, without a proxy %s", id, proxied[id], direct[id])
		}
	}
}

// h2specVerdicts returns what h2spec says of each case, or of these. A case
// fails that waits longer than timeout.
func h2specVerdicts(l net.Listener, timeout time.Duration, cases ...string) map[string]string {
	address := addrPort(l.Addr())
	verdicts := map[string]string{}
	for _, group := range []*spec.TestGroup{generic.Spec(), hpack.Spec(), h2spec.Spec()} {
		group.Test(&config.Config{
			Host: address.Addr().String(), Port: int(address.Port()), Path: "/",
			Timeout: timeout, MaxHeaderLen: 4000, Strict: true, Sections: cases,
		})
		collectVerdicts(group, verdicts)
	}
	return verdicts
}

func collectVerdicts(group *spec.TestGroup, verdicts map[string]string) {
	for i, c := range append(group.Tests, group.StrictTests...) {
		verdict := "not run"
		switch {
		case c.Result == nil:
		case c.Result.Skipped:
			verdict = "skipped"
		case c.Result.Failed:
			verdict = "failed"
		default:
			verdict = "passed"
		}
		verdicts[fmt.Sprintf("%s/%d", group.ID(), i+1)] = verdict
	}
	for _, g := range group.Groups {
		collectVerdicts(g, verdicts)
	}
}
