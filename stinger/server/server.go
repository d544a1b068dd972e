// Package server is Stinger's HTTP API.
//
//	handler := server.New(ctx, agent, log)
//	…
//	run.Serve(ctx, listener, &http.Server{Handler: handler}, grace)
//
// Bodies are JSON. GET /health and /ready answer an empty object where all is
// well. POST /pull answers 200 with an api.PullResult also where the pull
// failed: that is what became of it, and the result says why. Every other
// failure is an api.Error with its status.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// maxBody bounds a request's body: a pull's has 100 bytes, and room for fields
// of later versions.
const maxBody = 16 << 10

// Agent is what the API is for; package agent has one.
type Agent interface {
	Pull(context.Context, api.PullRequest) api.PullResult
	Reset(context.Context) error
	Start(context.Context) error
	Stop(context.Context) error
	Status() api.StingerStatus
	Ready() error
}

type server struct {
	ctx   context.Context // of operations, which outlive their requests
	agent Agent
	log   *slog.Logger
}

// New returns the API. Operations go on when the client has gone; they end
// with ctx.
func New(ctx context.Context, agent Agent, log *slog.Logger) http.Handler {
	s := &server{ctx: ctx, agent: agent, log: log}
	get, post := http.MethodGet, http.MethodPost
	routes := map[string]route{
		"/pull":   {post, s.pull},
		"/reset":  {post, s.operation(agent.Reset)},
		"/start":  {post, s.operation(agent.Start)},
		"/stop":   {post, s.operation(agent.Stop)},
		"/status": {get, func(w http.ResponseWriter, _ *http.Request) { s.answer(w, http.StatusOK, agent.Status()) }},
		"/health": {get, func(w http.ResponseWriter, _ *http.Request) { s.answer(w, http.StatusOK, struct{}{}) }},
		"/ready":  {get, s.ready},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, known := routes[r.URL.Path]
		switch {
		case !known:
			s.fail(w, http.StatusNotFound, fmt.Errorf("there is no %s", r.URL.Path))
		case r.Method != to.method && (r.Method != http.MethodHead || to.method != get):
			w.Header().Set("Allow", to.method)
			s.fail(w, http.StatusMethodNotAllowed, fmt.Errorf("%s takes %s only", r.URL.Path, to.method))
		default:
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			to.handle(w, r)
		}
	})
}

type route struct {
	method string
	handle http.HandlerFunc
}

func (s *server) pull(w http.ResponseWriter, r *http.Request) {
	var request api.PullRequest
	if status, err := readRequest(r, &request); err != nil {
		s.fail(w, status, err)
		return
	}
	s.answer(w, http.StatusOK, s.agent.Pull(s.ctx, request))
}

// readRequest reads a pull's body, which may be empty.
func readRequest(r *http.Request, request *api.PullRequest) (status int, err error) {
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, fmt.Errorf("the body is larger than %d bytes", maxBody)
	case err != nil:
		return http.StatusBadRequest, fmt.Errorf("reading the body: %w", err)
	case len(body) == 0:
		return 0, nil
	}
	if err := json.Unmarshal(body, request); err != nil {
		return http.StatusBadRequest, fmt.Errorf("parsing the body: %w", err)
	}
	if request.Commit != "" && !isCommit(request.Commit) {
		return http.StatusBadRequest, fmt.Errorf("commit %.50q: want a commit's full id, 40 of 0-9 and a-f", request.Commit)
	}
	return 0, nil
}

func isCommit(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// operation is answered, when it is done, with the status then.
func (s *server) operation(do func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := do(s.ctx); err != nil {
			s.fail(w, http.StatusInternalServerError, err)
			return
		}
		s.answer(w, http.StatusOK, s.agent.Status())
	}
}

func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.agent.Ready(); err != nil {
		s.fail(w, http.StatusServiceUnavailable, err)
		return
	}
	s.answer(w, http.StatusOK, struct{}{})
}

func (s *server) fail(w http.ResponseWriter, status int, err error) {
	s.answer(w, status, api.Error{Error: err.Error()})
}

func (s *server) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.log.Debug("answering", "error", err) // the client has gone
	}
}
