// Package server is Tanajura's HTTP interface: repositories as JSON, git's
// protocol, and health.
//
//	handler := server.New(server.Options{Hub: h, Git: smarthttp.New(h, …), Log: log})
//
//	POST   /api/repositories {"name": "orders"}   201 api.Repository · 409 it exists
//	GET    /api/repositories                      200 api.RepositoryList
//	GET    /api/repositories/NAME                 200 api.Repository · 404
//	DELETE /api/repositories/NAME                 204 · 404
//	POST   /api/certificates {"request": PEM}     201 api.Certificate
//	/NAME.git/…                                   see package smarthttp
//	GET    /api/version                           200 {"version": "v1.2.3"}
//	GET    /healthz, /readyz                      200 "ok" · 503 and why
//
// Where there is a Guard (package guard), all but the three last-named of these needs
// a token and the right to what is asked for: 401 and 403.
//
// Every other answer of /api is an api.Error. There are no CORS headers, and a
// body must be application/json, so that no web page can use a hub on the
// developer's own machine; nor may one whose own name leads there: without a Guard
// only names of the machine itself are answered to.
package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/tanajura/guard"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/smarthttp"
)

// maxBody bounds the body of an /api request: a name of 63 characters and its
// JSON, or a certificate request of some 400 bytes, and ample room for fields to
// come.
const maxBody = 4 << 10

// bodyTime is how long the body of an /api request may take: it fits into one
// packet or three.
const bodyTime = 10 * time.Second

// Options of the server.
type Options struct {
	Hub *hub.Hub
	// Git serves git's protocol.
	Git http.Handler
	// Ready reports why the hub cannot serve yet, beside what the hub's own
	// directory says; nil always can.
	Ready func() error
	// Guard decides who may do what; nil lets everybody do everything.
	Guard *guard.Guard
	// Signer signs the certificates of those whom the guard knows.
	Signer Signer
	Log    *slog.Logger
}

// New returns the handler of all that Tanajura serves.
func New(options Options) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	s := &server{Options: options}
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.RedirectTrailingSlash = false
	engine.UseRawPath = true // an escaped slash is no slash
	engine.Use(gin.CustomRecoveryWithWriter(io.Discard, s.recovered))
	engine.NoRoute(func(c *gin.Context) { fail(c, http.StatusNotFound, "there is nothing here") })
	engine.NoMethod(func(c *gin.Context) { fail(c, http.StatusMethodNotAllowed, "this method is not served here") })

	engine.POST("/api/repositories", s.needs("create", s.create))
	engine.GET("/api/repositories", s.needs("list", s.list))
	engine.GET("/api/repositories/:name", s.needs("get", s.get))
	engine.DELETE("/api/repositories/:name", s.needs("delete", s.delete))
	engine.POST(api.PathCertificates, s.certify)
	engine.GET("/api/version", func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{"version": version.String()})
	})
	engine.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	engine.GET("/readyz", s.ready)

	keep := s.Guard.Handler
	if s.Guard == nil {
		keep = local
	}
	return s.logged(keep(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen, ok := w.(*statusWriter); ok {
			caller, _ := guard.From(r.Context())
			seen.by = caller.Name
		}
		// git's requests pass gin by: they stream, and any name may stand
		// first in their path.
		if smarthttp.Handles(r.URL.Path) {
			if s.Guard.Allow(w, r, gitRight(smarthttp.Access(r))) {
				options.Git.ServeHTTP(w, r)
			}
			return
		}
		engine.ServeHTTP(w, r)
	})))
}

type server struct{ Options }

func (s *server) create(c *gin.Context) {
	var body api.Repository
	if err := readJSON(c, &body); err != nil {
		s.failWith(c, err)
		return
	}
	repo, err := s.Hub.Create(body.Name)
	if err != nil {
		s.failWith(c, err)
		return
	}
	c.Header("Location", "/api/repositories/"+repo.Name)
	c.JSON(http.StatusCreated, repo)
}

func (s *server) list(c *gin.Context) {
	repos, err := s.Hub.List()
	if err != nil {
		s.failWith(c, err)
		return
	}
	c.JSON(http.StatusOK, api.RepositoryList{Repositories: repos})
}

func (s *server) get(c *gin.Context) {
	repo, err := s.Hub.Get(c.Param("name"))
	if err != nil {
		s.failWith(c, err)
		return
	}
	c.JSON(http.StatusOK, repo)
}

func (s *server) delete(c *gin.Context) {
	if err := s.Hub.Delete(c.Param("name")); err != nil {
		s.failWith(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

func (s *server) ready(c *gin.Context) {
	err := s.Hub.Ready()
	if s.Ready != nil {
		err = errors.Join(err, s.Ready())
	}
	if err != nil {
		c.String(http.StatusServiceUnavailable, "%v\n", err)
		return
	}
	c.String(http.StatusOK, "ok\n")
}

// requestError is a fault of the request, with its status.
type requestError struct {
	status int
	text   string
}

func (e *requestError) Error() string { return e.text }

func readJSON(c *gin.Context, into any) error {
	if kind, _, err := mime.ParseMediaType(c.GetHeader("Content-Type")); err != nil || kind != "application/json" {
		return &requestError{http.StatusUnsupportedMediaType, "the body's Content-Type must be application/json"}
	}
	// git's bodies have bounds of their own, see smarthttp.
	control := http.NewResponseController(c.Writer)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime))
	data, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &requestError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have at most %d bytes", maxBody)}
	case err != nil:
		return &requestError{http.StatusBadRequest, "reading the body: " + err.Error()}
	}
	// Only now: after an error the server itself reads what is left of the body.
	_ = control.SetReadDeadline(time.Time{})
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(into); err != nil {
		return &requestError{http.StatusBadRequest, "parsing the body: " + err.Error()}
	}
	return nil
}

// failWith answers with an error, whose kind gives the status.
func (s *server) failWith(c *gin.Context, err error) {
	var request *requestError
	var name *hub.NameError
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, &request):
		status = request.status
	case errors.As(err, &name):
		status = http.StatusBadRequest
	case errors.Is(err, hub.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, hub.ErrExists):
		status = http.StatusConflict
	case errors.Is(err, hub.ErrFull):
		status = http.StatusInsufficientStorage
	default:
		s.Log.Error("serving", "method", c.Request.Method, "path", c.Request.URL.Path, "error", err)
	}
	fail(c, status, err.Error())
}

// fail is the one place that writes an api.Error.
func fail(c *gin.Context, status int, text string) {
	c.AbortWithStatusJSON(status, api.Error{Error: text})
}

func (s *server) recovered(c *gin.Context, fault any) {
	s.Log.Error("serving panicked", "method", c.Request.Method, "path", c.Request.URL.Path, "panic", fault)
	fail(c, http.StatusInternalServerError, "internal error")
}

// logged logs each request's head and outcome, never a body. Probes and other
// reads are for debugging only.
func (s *server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		seen := &statusWriter{ResponseWriter: w}
		defer func() { // also where the handler breaks the connection
			level := slog.LevelInfo
			if r.Method == http.MethodGet && seen.status < http.StatusBadRequest {
				level = slog.LevelDebug
			}
			s.Log.Log(r.Context(), level, "request", "method", r.Method, "path", r.URL.Path, "status", seen.status,
				"from", r.RemoteAddr, "by", seen.by, "took", time.Since(start).Round(10*time.Microsecond))
		}()
		next.ServeHTTP(seen, r)
		if r.ContentLength != 0 {
			// What the handler left unread net/http reads, for as long as that takes.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		}
	})
}

// statusWriter remembers the status, and who asked.
type statusWriter struct {
	http.ResponseWriter
	status int
	by     string // empty: nobody was asked to say
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
