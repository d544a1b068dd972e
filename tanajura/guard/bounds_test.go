package guard

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
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

// from has a request come from an address.
func from(address string, r *http.Request) *http.Request {
	r.RemoteAddr = address + ":40000"
	return r
}

// TestWhoLeavesLeavesNoQuestion: strangers who do not wait for their answers
// leave a bounded number of questions behind, each with a token, and those of one
// address leave room for others'.
func TestWhoLeavesLeavesNoQuestion(t *testing.T) {
	release := make(chan struct{})
	g := newGuard(asked{wait: release}, slog.New(slog.DiscardHandler))
	handler := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	gone, leave := context.WithCancel(t.Context())
	leave()
	var all sync.WaitGroup
	codes := make(chan int, 4*maxWaiting)
	for n := range cap(codes) {
		all.Go(func() {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, request("/orders.git/info/refs", token(n)).WithContext(gone))
			codes <- w.Code
		})
	}
	for range cap(codes) - maxOneAddress {
		if code := <-codes; code != http.StatusServiceUnavailable {
			t.Errorf("answered %d, want %d", code, http.StatusServiceUnavailable)
		}
	}
	g.callers.mu.Lock()
	if n := len(g.callers.entries); n > maxOneAddress {
		t.Errorf("%d questions are left, want at most %d", n, maxOneAddress)
	}
	g.callers.mu.Unlock()
	w := httptest.NewRecorder()
	all.Go(func() { handler.ServeHTTP(w, from("192.0.2.99", request("/api/repositories", token(cap(codes))))) })
	close(release)
	all.Wait()
	if w.Code != http.StatusOK {
		t.Errorf("who comes from elsewhere is answered %d %s", w.Code, w.Body)
	}
}

// Strangers who wait are few, those of one address fewer, and others are served
// meanwhile.
func TestStrangersAreBounded(t *testing.T) {
	release, later := make(chan struct{}), make(chan struct{})
	close(later)
	g := newGuard(asked{wait: later}, slog.New(slog.DiscardHandler))
	handler := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	known := token(-1)
	handler.ServeHTTP(httptest.NewRecorder(), request("/api/repositories", known))
	g.Authenticator = asked{wait: release}
	codes := make(chan int, 2*maxStrangers)
	var all sync.WaitGroup
	for i := range cap(codes) {
		all.Go(func() {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, from(fmt.Sprintf("192.0.2.%d", i%4), request("/api/repositories", token(i))))
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
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, request("/api/repositories", known))
	if w.Code != http.StatusOK {
		t.Errorf("who is known meanwhile is answered %d", w.Code)
	}
	close(release)
	all.Wait()
	for range maxStrangers {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("who waited is answered %d", code)
		}
	}
}

// Pods and developers each have places of their own, bounded together and one by
// one, and nothing is kept of who has no request.
func TestRequestsAreBounded(t *testing.T) {
	for kind, c := range map[string]struct {
		user     func(n int) User
		all, one int
		says     string
	}{
		"a pod": {podOfMine, maxPods, maxOnePod, `pod orders-0 has 8 requests under way, the most that this hub takes from one pod`},
		"a run of the plugin": {func(int) User { return User{Name: accounts + "mine:" + api.DeveloperAccount} }, maxDevelopers, maxOneDeveloper,
			accounts + `mine:formicarium-developer has 128 requests under way, the most that this hub takes from one developer`},
		"an account": {func(n int) User { return User{Name: "account-" + strconv.Itoa(n/10)} }, maxDevelopers, maxOneDeveloper,
			`account-0 has 128 requests under way`},
	} {
		t.Run(kind, func(t *testing.T) {
			release, inside := make(chan struct{}), make(chan struct{})
			g := New(Options{Devspace: "mine", Authenticator: numbered{c.user}, Log: slog.New(slog.DiscardHandler)})
			handler := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				inside <- struct{}{}
				<-release
			}))
			refused := func(n int) string {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, request("/api/repositories", token(n)))
				if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("Connection") != "close" {
					t.Errorf("caller %d is answered %d %v", n, w.Code, w.Header())
				}
				return w.Body.String()
			}
			var all sync.WaitGroup
			for caller := range c.all / c.one {
				for range c.one {
					all.Go(func() {
						handler.ServeHTTP(httptest.NewRecorder(), request("/api/repositories", token(10*caller)))
					})
					<-inside
				}
				if said := refused(10 * caller); caller == 0 && !strings.Contains(said, c.says) {
					t.Errorf("it is told %q, want %q", said, c.says)
				}
			}
			if said, want := refused(10*c.all), fmt.Sprintf("this hub has %d requests of", c.all); !strings.Contains(said, want) {
				t.Errorf("one more caller is told %q, want %q", said, want)
			}
			close(release)
			all.Wait()
			for _, p := range []*pool{g.pods, g.developers, g.strangers} {
				if p.total != 0 || len(p.shares) != 0 {
					t.Errorf("%d requests of %d %s are left", p.total, len(p.shares), p.whose)
				}
			}
		})
	}
}

// numbered is an API server that knows the sender of the nth token.
type numbered struct{ user func(n int) User }

func (u numbered) Authenticate(_ context.Context, token string) (User, bool, error) {
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		return User{}, false, err
	}
	var claims struct{ N int }
	err = json.Unmarshal(body, &claims)
	return u.user(claims.N), true, err
}

func podOfMine(n int) User {
	// A pod has several tokens in its time: ten of these.
	name := strconv.Itoa(n / 10)
	return User{Name: accounts + "mine:default", Extra: map[string][]string{extraPodName: {"orders-" + name}, extraPodUID: {name}}}
}

// Who has several tokens has no more of the hub for it; two runs of the plugin have
// each their own.
func TestShares(t *testing.T) {
	developer := identity.Identity{Devspace: "mine", Kind: identity.Developer, Name: accounts + "mine:" + api.DeveloperAccount}
	other := identity.Identity{Devspace: "mine", Kind: identity.Developer, Name: "ann"}
	pod := identity.Identity{Devspace: "mine", Kind: identity.Pod, Name: "orders-1", UID: "1"}
	reborn := identity.Identity{Devspace: "mine", Kind: identity.Pod, Name: "orders-1", UID: "2"}
	one, two := tokenKey{1}, tokenKey{2}
	for name, c := range map[string]struct {
		a, b Caller
		same bool
	}{
		"a pod":                    {Caller{Identity: pod, key: one}, Caller{Identity: pod, key: two}, true},
		"another pod of that name": {Caller{Identity: pod, key: one}, Caller{Identity: reborn, key: one}, false},
		"an account":               {Caller{Identity: other, key: one}, Caller{Identity: other, key: two}, true},
		"two runs":                 {Caller{Identity: developer, key: one}, Caller{Identity: developer, key: two}, false},
		"one run":                  {Caller{Identity: developer, key: one}, Caller{Identity: developer, key: one}, true},
	} {
		if same := c.a.share() == c.b.share(); same != c.same {
			t.Errorf("%s shares its part: %v, want %v", name, same, c.same)
		}
	}
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
