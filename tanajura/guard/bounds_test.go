package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// asked is an API server that knows everybody, when it is released.
type asked struct {
	wait chan struct{} // nil: it answers at once
	err  error
}

func (a asked) Authenticate(ctx context.Context, token string) (User, bool, error) {
	if a.wait != nil {
		select {
		case <-a.wait:
		case <-ctx.Done():
			return User{}, false, ctx.Err()
		}
	}
	if a.err != nil {
		return User{}, false, fmt.Errorf("%w: %s", a.err, token)
	}
	return User{Name: "ann"}, true, nil
}

func (a asked) Authorize(context.Context, User, Right) (bool, error) { return true, nil }

func newGuard(a asked, log *slog.Logger) *Guard {
	return New(Options{Devspace: "mine", Authenticator: a, Authorizer: a, Log: log})
}

// token returns the nth good token.
func token(n int) string {
	return jwt(fmt.Sprintf(`{"aud":%q,"exp":%d,"n":%d}`, api.Audience("mine"), time.Now().Add(time.Hour).Unix(), n))
}

func request(path, token string) *http.Request {
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// TestStrangersHoldNoConnection: nobody who is not known keeps a connection,
// whatever he asks for and why he is not served.
func TestStrangersHoldNoConnection(t *testing.T) {
	served := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	away := newGuard(asked{err: errors.New("away")}, slog.New(slog.DiscardHandler)).Handler(served)
	known := newGuard(asked{}, slog.New(slog.DiscardHandler)).Handler(served)
	elsewhere := New(Options{Devspace: "mine", Authenticator: podElsewhere{}, Log: slog.New(slog.DiscardHandler)}).Handler(served)
	for name, c := range map[string]struct {
		handler http.Handler
		request *http.Request
		status  int
		closes  bool
	}{
		"a probe":                    {known, httptest.NewRequest("GET", "/healthz", nil), 200, true},
		"a probe with a token":       {known, request("/api/version", "x"), 200, true},
		"no token":                   {known, httptest.NewRequest("GET", "/api/repositories", nil), 401, true},
		"nobody to ask":              {away, request("/api/repositories", token(1)), 503, true},
		"a pod of another namespace": {elsewhere, request("/api/repositories", token(1)), 403, true},
		"a developer":                {known, request("/api/repositories", token(1)), 200, false},
	} {
		answer := httptest.NewRecorder()
		c.handler.ServeHTTP(answer, c.request)
		if closes := answer.Header().Get("Connection") == "close"; answer.Code != c.status || closes != c.closes {
			t.Errorf("%s: status %d, closes %v; want %d, %v", name, answer.Code, closes, c.status, c.closes)
		}
	}
}

type podElsewhere struct{}

func (podElsewhere) Authenticate(context.Context, string) (User, bool, error) {
	extra := map[string][]string{extraPodName: {"orders-1"}, extraPodUID: {"1"}}
	return User{Name: accounts + "other:default", Extra: extra}, true, nil
}

// TestWhoLeavesLeavesNoQuestion: strangers who do not wait for their answers
// leave a bounded number of questions behind, each with a token.
func TestWhoLeavesLeavesNoQuestion(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	g := newGuard(asked{wait: release}, slog.New(slog.DiscardHandler))
	handler := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	gone, leave := context.WithCancel(t.Context())
	leave()
	for n := range 4 * maxWaiting {
		handler.ServeHTTP(httptest.NewRecorder(), request("/orders.git/info/refs", token(n)).WithContext(gone))
	}
	g.callers.mu.Lock()
	defer g.callers.mu.Unlock()
	if n := len(g.callers.entries); n > maxWaiting {
		t.Errorf("%d questions are left, want at most %d", n, maxWaiting)
	}
}

// Strangers who wait are few, and others are served meanwhile.
func TestStrangersAreBounded(t *testing.T) {
	release := make(chan struct{})
	g := newGuard(asked{wait: release}, slog.New(slog.DiscardHandler))
	handler := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	codes := make(chan int, 2*maxStrangers)
	var all sync.WaitGroup
	for i := range cap(codes) {
		all.Go(func() {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, request("/api/repositories", token(i)))
			codes <- w.Code
		})
	}
	for range maxStrangers { // those who have no place are told at once
		if code := <-codes; code != http.StatusServiceUnavailable {
			t.Errorf("answered %d, want %d", code, http.StatusServiceUnavailable)
		}
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
	if w.Code != http.StatusOK {
		t.Errorf("a probe meanwhile is answered %d", w.Code)
	}
	close(release)
	all.Wait()
	for range maxStrangers {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("who waited is answered %d", code)
		}
	}
}

func TestRequestsAreBounded(t *testing.T) {
	g := newGuard(asked{}, slog.New(slog.DiscardHandler))
	release, inside := make(chan struct{}), make(chan struct{})
	handler := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		inside <- struct{}{}
		<-release
	}))
	one := token(1)
	var all sync.WaitGroup
	for range maxRequests {
		all.Go(func() { handler.ServeHTTP(httptest.NewRecorder(), request("/api/repositories", one)) })
		<-inside
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, request("/api/repositories", one))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("one more is answered %d %v", w.Code, w.Header())
	}
	close(release)
	all.Wait()
}

// A token is in neither the log nor an answer, even where the API server's words hold
// it.
func TestTokensStaySecret(t *testing.T) {
	var log bytes.Buffer
	secret := token(1)
	for _, a := range []asked{{}, {err: errors.New("dialling")}} {
		g := newGuard(a, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		handler := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.Allow(w, r, Right{Verb: "get", Resource: api.ResourceRepositories, Name: "NOPE"})
		}))
		for _, path := range []string{"/api/repositories", "/orders.git/info/refs"} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, request(path, secret))
			if w.Code < 400 || strings.Contains(w.Body.String(), secret) {
				t.Errorf("answered %d %s", w.Code, w.Body)
			}
		}
	}
	if text := log.String(); !strings.Contains(text, "dialling") || strings.Contains(text, secret) {
		t.Errorf("the log lacks the reason or shows the token:\n%s", text)
	}
}

// BenchmarkKnown is what a request costs whose sender and right are known.
func BenchmarkKnown(b *testing.B) {
	g := newGuard(asked{}, slog.New(slog.DiscardHandler))
	right := Right{Verb: "update", Resource: api.ResourceRepositories, Name: "orders"}
	handler := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.Allow(w, r, right) {
			b.Error("refused")
		}
	}))
	// As long as the API server's are.
	secret := jwt(fmt.Sprintf(`{"aud":[%q],"exp":%d,"x":%q}`, api.Audience("mine"), time.Now().Add(time.Hour).Unix(), strings.Repeat("x", 900)))
	for _, scheme := range []string{"bearer", "basic"} {
		b.Run(scheme, func(b *testing.B) {
			r, w := request("/orders.git/git-receive-pack", secret), httptest.NewRecorder()
			if scheme == "basic" {
				r.SetBasicAuth("fmc", secret)
			}
			handler.ServeHTTP(w, r)
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(w, r)
			}
		})
	}
}
