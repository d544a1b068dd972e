package smarthttp

import (
	"errors"
	"io"
	"net/http"

	"github.com/formicarium/formicarium/tanajura/hub"
)

// statusError is an error with its HTTP status.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// errSent marks errors that came too late to be told by a status.
var errSent = errors.New("the answer was begun already")

var errDumb = &statusError{http.StatusForbidden,
	"this hub speaks git's smart HTTP protocol only: use git 1.6.6 or newer, without GIT_SMART_HTTP=0"}

// fail answers with an error, where nothing was sent yet.
func (x *exchange) fail(err error) {
	var status *statusError
	var name *hub.NameError
	code, text := http.StatusInternalServerError, err.Error()
	switch {
	case errors.Is(err, errSent):
		return
	case errors.As(err, &status):
		code = status.status
	case errors.As(err, &name):
		code = http.StatusBadRequest
	case errors.Is(err, hub.ErrNotFound):
		code = http.StatusNotFound
		text += `; make it first: POST /api/repositories {"name": "…"}`
	case errors.Is(err, hub.ErrFull):
		code = http.StatusRequestEntityTooLarge
	default:
		x.log.Error("serving git", "error", err)
	}
	header := x.w.Header()
	if code == http.StatusServiceUnavailable {
		header.Set("Retry-After", "1")
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	x.w.WriteHeader(code)
	_, _ = io.WriteString(x.w, text+"\n")
}
