package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
)

// recorder is an Agent that keeps what it was asked.
type recorder struct {
	asked   []string
	request api.PullRequest
	err     error
}

func (r *recorder) Pull(_ context.Context, request api.PullRequest) api.PullResult {
	r.asked, r.request = append(r.asked, "pull"), request
	return api.PullResult{Commit: request.Commit, Error: "a failed build"}
}
func (r *recorder) Reset(context.Context) error { r.asked = append(r.asked, "reset"); return r.err }
func (r *recorder) Start(context.Context) error { r.asked = append(r.asked, "start"); return r.err }
func (r *recorder) Stop(context.Context) error  { r.asked = append(r.asked, "stop"); return r.err }
func (r *recorder) Ready() error                { return r.err }
func (r *recorder) Status() api.StingerStatus {
	return api.StingerStatus{State: api.StateRunning, PID: 17}
}

func call(t *testing.T, agent Agent, method, path, body string) (status int, answer map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	New(context.Background(), agent, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("%s %s: Content-Type %q", method, path, got)
	}
	data, _ := io.ReadAll(w.Body)
	if err := json.Unmarshal(data, &answer); err != nil {
		t.Errorf("%s %s: answer %q: %v", method, path, data, err)
	}
	return w.Code, answer
}

func TestAnswers(t *testing.T) {
	commit := strings.Repeat("0a", 20)
	for _, c := range []struct {
		method, path, body string
		err                error
		status             int
		want               string // in the answer
		asked              string // of the agent
	}{
		{"POST", "/pull", `{"commit":"` + commit + `","restart":true,"later":1}`, nil, 200, commit, "pull"},
		{"POST", "/pull", ``, nil, 200, "a failed build", "pull"},
		{"POST", "/pull", `{"commit":"main"}`, nil, 400, "full id", ""},
		{"POST", "/pull", `{"commit":"` + strings.ToUpper(commit) + `"}`, nil, 400, "full id", ""},
		{"POST", "/pull", `{`, nil, 400, "parsing the body", ""},
		{"POST", "/pull", `"` + strings.Repeat("x", maxBody) + `"`, nil, 413, "larger than", ""},
		{"GET", "/pull", ``, nil, 405, "POST only", ""},
		{"POST", "/reset", ``, nil, 200, "running", "reset"},
		{"POST", "/start", ``, nil, 200, "running", "start"},
		{"POST", "/stop", ``, nil, 200, "running", "stop"},
		{"POST", "/reset", ``, errors.New("no script"), 500, "no script", "reset"},
		{"GET", "/status", ``, nil, 200, "running", ""},
		{"POST", "/status", ``, nil, 405, "GET only", ""},
		{"GET", "/health", ``, errors.New("not ready"), 200, "", ""},
		{"GET", "/ready", ``, nil, 200, "", ""},
		{"GET", "/ready", ``, errors.New("waiting"), 503, "waiting", ""},
		{"GET", "/", ``, nil, 404, "there is no /", ""},
	} {
		agent := &recorder{err: c.err}
		status, answer := call(t, agent, c.method, c.path, c.body)
		text, _ := json.Marshal(answer)
		if status != c.status || !strings.Contains(string(text), c.want) {
			t.Errorf("%s %s %.60s = %d %s, want %d with %q", c.method, c.path, c.body, status, text, c.status, c.want)
		}
		if status >= 400 && answer["error"] == nil {
			t.Errorf("%s %s: the answer has no error: %s", c.method, c.path, text)
		}
		if got := strings.Join(agent.asked, " "); got != c.asked {
			t.Errorf("%s %s asked the agent for %q, want %q", c.method, c.path, got, c.asked)
		}
	}
	agent := &recorder{}
	call(t, agent, http.MethodPost, "/pull", `{"commit":"`+commit+`","restart":false}`)
	if agent.request.Commit != commit || agent.request.Restart == nil || *agent.request.Restart {
		t.Errorf("the agent got %+v", agent.request)
	}
}
