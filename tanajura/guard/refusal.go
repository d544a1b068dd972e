package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// refusal is why a request is not served, in words for its sender.
type refusal struct {
	status int
	text   string
	realm  string // of a 401
}

func (r *refusal) Error() string { return r.text }

// misfit is why something is no token of the devspace.
type misfit struct{ text string }

func (m *misfit) Error() string { return m.text }

var (
	errNoToken = &misfit{"no token was sent"}
	errHeader  = &misfit{"the Authorization header is malformed"}
	errTooLong = &misfit{fmt.Sprintf("the token is longer than %d bytes", maxToken)}
	errShape   = &misfit{"this is no token of a Kubernetes account (a JWT)"}
	errNobody  = &misfit{"the API server does not know the token, or not any more"}

	errProbes = &refusal{http.StatusServiceUnavailable, fmt.Sprintf("this hub answers %d probes at once, and has as many: try again", maxProbes), ""}
)

// unknown is the refusal of somebody who is not known, and says how to become so.
func (g *Guard) unknown(err error) *refusal {
	return &refusal{
		http.StatusUnauthorized,
		fmt.Sprintf("%v: this hub wants one of the audience %q, as bearer or as password; kubectl fmc git … sends it", err, api.Audience(g.Devspace)),
		"devspace " + g.Devspace,
	}
}

// denied is the refusal of somebody who lacks a right, and says which.
func (g *Guard) denied(caller Caller, right Right) *refusal {
	return &refusal{http.StatusForbidden,
		fmt.Sprintf("%s may not %s in namespace %s: a Role there has to allow it (see the Role %s)", caller.Name, right, g.Devspace, api.DeveloperAccount), ""}
}

func cannotAsk(what string, err error) error {
	return &refusal{http.StatusServiceUnavailable, fmt.Sprintf("this hub cannot ask the API server %s: %v", what, err), ""}
}

// hide takes a token out of what others said of it.
func hide(err error, token string) error {
	if text := err.Error(); strings.Contains(text, token) {
		return errors.New(strings.ReplaceAll(text, token, "(not shown)"))
	}
	return err
}

// refused answers a request that is not served.
func (g *Guard) refused(w http.ResponseWriter, r *http.Request, err error) {
	g.Log.Debug("request refused", "method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr, "reason", err)
	refuse(w, r, err)
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	var why *refusal
	if !errors.As(err, &why) {
		why = &refusal{http.StatusInternalServerError, "internal error", ""}
	}
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	switch why.status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q, charset=\"UTF-8\"", why.realm))
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", "1")
	}
	if strings.HasPrefix(r.URL.Path, "/api/") {
		header.Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(why.status)
		_ = json.NewEncoder(w).Encode(api.Error{Error: why.text})
		return
	}
	// git shows its user text of this type alone.
	header.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(why.status)
	_, _ = io.WriteString(w, why.text+"\n")
}

// slots bound how many do something at once.
type slots chan struct{}

func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) give() { <-s }
