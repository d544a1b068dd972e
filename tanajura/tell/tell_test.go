package tell_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/tanajura/tell"
)

const commit = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

func all(outcomes <-chan api.Outcome) map[string]api.Outcome {
	byPod := map[string]api.Outcome{}
	for o := range outcomes {
		byPod[o.Pod] = o
	}
	return byPod
}

func TestTell(t *testing.T) {
	answer := func(status int, body string) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			var request api.PullRequest
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Commit != commit || request.Restart != nil ||
				r.URL.Path != "/pull" || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("asked %s %+v: %v", r.URL, request, err)
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}).URL
	}
	list := tell.Static{"orders": {
		{Pod: "good", Container: "app", URL: answer(200, `{"commit":"`+commit+`","pid":17,"changed":2}`)},
		{Pod: "failed", Container: "app", URL: answer(500, `{"error":"building","output":"line"}`)},
		{Pod: "bare", Container: "app", URL: answer(503, `{}`)},
		{Pod: "foreign", Container: "app", URL: answer(200, `<html>`)},
		{Pod: "elsewhere", Container: "app", URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.invalid/", http.StatusFound)
		}).URL},
		{Pod: "gone", Container: "app", URL: "http://127.0.0.1:1"},
	}}
	got := all(tell.New(list.Targets).Tell(t.Context(), "orders", commit))
	if len(got) != 6 {
		t.Errorf("%d outcomes of 6 Stingers", len(got))
	}
	for pod, o := range got {
		if o.Container != "app" || o.Millis <= 0 {
			t.Errorf("%s: %+v", pod, o)
		}
	}
	if o := got["good"]; o.Error != "" || o.Result.PID != 17 || o.Result.Changed != 2 {
		t.Errorf("good: %+v", o)
	}
	if o := got["failed"]; o.Error != "" || o.Result.Error != "building" || o.Result.Output != "line" {
		t.Errorf("failed: %+v", o)
	}
	for pod, want := range map[string]string{
		"bare": "HTTP 503", "foreign": "reading the Stinger's answer (HTTP 200)", "elsewhere": "HTTP 302", "gone": "connection refused",
	} {
		if o := got[pod]; !strings.Contains(o.Error, want) || strings.Contains(o.Error, "http://") {
			t.Errorf("%s: error %q, want one with %q and no URL", pod, o.Error, want)
		}
	}
	if got := all(tell.New(list.Targets).Tell(t.Context(), "other", commit)); len(got) != 0 {
		t.Errorf("a service without Stingers has outcomes %v", got)
	}
}

// All are asked at once: each answers only when all were asked.
func TestTellIsParallel(t *testing.T) {
	const pods = 8
	asked, everyone := make(chan struct{}, pods), make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-everyone
		io.WriteString(w, "{}")
	})
	list := tell.Static{}
	for i := range pods {
		list["orders"] = append(list["orders"], tell.Target{Pod: string(rune('a' + i)), URL: s.URL})
	}
	outcomes := tell.New(list.Targets).Tell(t.Context(), "orders", commit)
	for range pods {
		<-asked
	}
	close(everyone)
	if got := all(outcomes); len(got) != pods {
		t.Errorf("%d outcomes of %d", len(got), pods)
	}
}

// One save after the other goes over one connection.
func TestConnectionsAreKept(t *testing.T) {
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	stingers := tell.New(tell.Static{"orders": {{URL: s.URL}}}.Targets)
	for range 5 {
		for o := range stingers.Tell(t.Context(), "orders", commit) {
			if o.Error != "" {
				t.Error(o.Error)
			}
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("5 saves took %d connections", n)
	}
}

func TestTellEndsWithItsContext(t *testing.T) {
	asked := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // or the server does not see the client go
		close(asked)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	outcomes := tell.New(tell.Static{"orders": {{Pod: "p", URL: s.URL}}}.Targets).Tell(ctx, "orders", commit)
	<-asked
	cancel()
	if got := all(outcomes); !strings.Contains(got["p"].Error, "canceled") {
		t.Errorf("outcomes %v", got)
	}
}

func TestParseStatic(t *testing.T) {
	list, err := tell.ParseStatic([]string{"orders=http://127.0.0.1:24000/", "orders=http://127.0.0.1:24001", "a=https://[::1]:1"})
	if err != nil || len(list["orders"]) != 2 || list["orders"][0].URL != "http://127.0.0.1:24000" || list["orders"][0].Pod != "127.0.0.1:24000" {
		t.Errorf("%+v, %v", list, err)
	}
	for _, bad := range []string{"orders", "=http://a", "Orders=http://a", "orders=127.0.0.1:24000", "orders=http://", "orders=ftp://a"} {
		if _, err := tell.ParseStatic([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
