package server_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/server"
)

type fixture struct {
	t     *testing.T
	url   string
	log   logged
	ready atomic.Value // of error
}

// logged is a log that can be read while it is written.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *logged) have() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func newFixture(t *testing.T, limits hub.Limits) *fixture {
	t.Helper()
	f := &fixture{t: t}
	log := slog.New(slog.NewTextHandler(&f.log, nil))
	h, err := hub.Open(t.TempDir(), limits, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	git := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "git") })
	s := httptest.NewServer(server.New(server.Options{Hub: h, Git: git, Ready: f.isReady, Log: log}))
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

func (f *fixture) isReady() error {
	err, _ := f.ready.Load().(error)
	return err
}

// do sends a request and reads the answer into a value, where there is one.
func (f *fixture) do(method, path, body string, into any) *http.Response {
	f.t.Helper()
	request, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	return f.send(request, into)
}

func (f *fixture) send(request *http.Request, into any) *http.Response {
	f.t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			f.t.Errorf("%s %s: %d %q: %v", request.Method, request.URL.Path, response.StatusCode, data, err)
		}
	}
	return response
}

func TestRepositories(t *testing.T) {
	f := newFixture(t, hub.Limits{})
	var repo api.Repository
	if r := f.do("POST", "/api/repositories", `{"name":"orders","head":"ignored"}`, &repo); r.StatusCode != http.StatusCreated ||
		r.Header.Get("Location") != "/api/repositories/orders" || repo.Name != "orders" || repo.Head != "" || repo.Created.IsZero() {
		t.Errorf("creating: %d %+v", r.StatusCode, repo)
	}
	var got api.Repository
	if r := f.do("GET", "/api/repositories/orders", "", &got); r.StatusCode != http.StatusOK || got != repo {
		t.Errorf("getting: %d %+v, want %+v", r.StatusCode, got, repo)
	}
	var list api.RepositoryList
	if r := f.do("GET", "/api/repositories", "", &list); r.StatusCode != http.StatusOK || len(list.Repositories) != 1 || list.Repositories[0] != repo {
		t.Errorf("listing: %d %+v", r.StatusCode, list)
	}
	if r := f.do("DELETE", "/api/repositories/orders", "", nil); r.StatusCode != http.StatusNoContent {
		t.Errorf("deleting: %d", r.StatusCode)
	}
	response, err := http.Get(f.url + "/api/repositories")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != `{"repositories":[]}` {
		t.Errorf("an empty list is %s", body)
	}
}

func TestErrors(t *testing.T) {
	f := newFixture(t, hub.Limits{Repositories: 1})
	f.do("POST", "/api/repositories", `{"name":"orders"}`, nil)
	for _, test := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"POST", "/api/repositories", `{"name":"orders"}`, 409, "exists already"},
		{"POST", "/api/repositories", `{"name":"second"}`, 507, "TANAJURA_MAX_REPOSITORIES"},
		{"POST", "/api/repositories", `{"name":"../etc"}`, 400, "position 1"},
		{"POST", "/api/repositories", `{}`, 400, "name is empty"},
		{"POST", "/api/repositories", `{`, 400, "parsing the body"},
		{"POST", "/api/repositories", `{"name":"` + strings.Repeat("a", 5000) + `"}`, 413, "at most 4096 bytes"},
		{"GET", "/api/repositories/nope", "", 404, "no such repository"},
		{"DELETE", "/api/repositories/nope", "", 404, "no such repository"},
		{"DELETE", "/api/repositories/..%2F..%2Fetc", "", 400, "position 1"},
		{"DELETE", "/api/repositories/%2e%2e", "", 400, "position 1"},
		{"GET", "/api/repositories/a%00b", "", 400, "position 2"},
		{"PUT", "/api/repositories", "", 405, "not served"},
		{"GET", "/nowhere", "", 404, "nothing here"},
		{"GET", "/api/repositories/", "", 404, "nothing here"},
	} {
		var body api.Error
		r := f.do(test.method, test.path, test.body, &body)
		if r.StatusCode != test.status || !strings.Contains(body.Error, test.text) {
			t.Errorf("%s %s %.40s: %d %q, want %d and %q", test.method, test.path, test.body, r.StatusCode, body.Error, test.status, test.text)
		}
	}
}

// A web page can send a form across origins, and must get nothing by it.
func TestWebPagesAreKeptOut(t *testing.T) {
	f := newFixture(t, hub.Limits{})
	request, err := http.NewRequest("POST", f.url+"/api/repositories", strings.NewReader(`{"name":"orders"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/plain")
	request.Header.Set("Origin", "https://example.com")
	var body api.Error
	r := f.send(request, &body)
	if r.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a form is answered %d %q", r.StatusCode, body.Error)
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("the answer has the header %s", name)
		}
	}
}

// A client that does not end its body is not waited for for ever.
func TestSlowBody(t *testing.T) {
	for kind, status := range map[string]int{
		"application/json": http.StatusBadRequest, // after it was waited for
		"text/plain":       http.StatusUnsupportedMediaType,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			testSlowBody(t, kind, status)
		})
	}
}

func testSlowBody(t *testing.T, kind string, status int) {
	f := newFixture(t, hub.Limits{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/repositories HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 20\r\n\r\n{", kind)
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	response, err := http.ReadResponse(answers, nil)
	if err != nil || response.StatusCode != status {
		t.Errorf("%s: answered %+v, %v, want status %d", kind, response, err, status)
		return
	}
	if _, err := io.Copy(io.Discard, answers); err != nil {
		t.Errorf("%s: the connection is not closed: %v", kind, err)
	}
}

func TestHealth(t *testing.T) {
	f := newFixture(t, hub.Limits{})
	var v struct{ Version string }
	if f.do("GET", "/api/version", "", &v); v.Version == "" {
		t.Error("the version is empty")
	}
	for _, path := range []string{"/healthz", "/readyz", "/orders.git/info/refs"} {
		if r := f.do("GET", path, "", nil); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	f.ready.Store(errors.New("not yet"))
	if r := f.do("GET", "/readyz", "", nil); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz before all is ready: %d", r.StatusCode)
	}
	if r := f.do("GET", "/healthz", "", nil); r.StatusCode != http.StatusOK {
		t.Errorf("/healthz before all is ready: %d", r.StatusCode)
	}
}

func TestLogHasNoBodies(t *testing.T) {
	f := newFixture(t, hub.Limits{})
	f.do("POST", "/api/repositories", `{"name":"orders","secret":"hunter2"}`, nil)
	f.do("GET", "/nowhere?secret=hunter2", "", nil)
	// A line is written after its answer is sent.
	for deadline := time.Now().Add(20 * time.Second); len(f.log.have()) < 2 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	text := strings.Join(f.log.have(), "")
	if !strings.Contains(text, "path=/api/repositories status=201") || !strings.Contains(text, "path=/nowhere status=404") || strings.Contains(text, "hunter2") {
		t.Errorf("the log lacks a request or tells too much:\n%s", text)
	}
}
