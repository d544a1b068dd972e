// Package smarthttp serves a hub's repositories to git by its smart HTTP
// protocol, versions 0 and 2:
//
//	handler := smarthttp.New(h, smarthttp.Options{Teller: teller, Log: log})
//	// git clone http://127.0.0.1:3002/orders.git
//
// It answers three requests per repository and nothing else:
//
//	GET  /NAME.git/info/refs?service=git-upload-pack (or git-receive-pack)
//	POST /NAME.git/git-upload-pack    clone, fetch
//	POST /NAME.git/git-receive-pack   push
//
// The work is done by `git upload-pack` and `git receive-pack`; this package
// streams between them and the client in flat memory, bounds what a client can
// cost, and ends a git whose client is gone. A save, which is small and comes on
// top of the branch, and the fetch of it are done without them, see package
// quick and recentPacks.
//
// # What a push tells
//
// While a push streams through, its list of commands is read (see
// readCommands). When git is done and api.HubBranch is where the push wanted
// it, the Teller is asked to tell the service's Stingers, and each api.Outcome
// is sent to the pusher as it arrives, on side-band channel 2, before the
// flush-pkt that ends git's own answer. git shows such lines as "remote: …".
// With the request header "Formicarium-Outcomes: json" each line is one JSON
// api.Outcome. A line ends in a newline and may span packets. A client that did
// not ask for side-band-64k gets git's answer alone. Whatever the Stingers say,
// the push has succeeded.
//
// # Errors
//
// Errors are text/plain, because git shows its user the body of such an answer
// and of no other.
package smarthttp

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/quick"
)

// Teller tells a service's Stingers of a commit.
type Teller interface {
	// Tell asks them and sends each one's outcome when it is known. It closes
	// the channel after the last, and soon after ctx ends.
	Tell(ctx context.Context, service, commit string) <-chan api.Outcome
}

// Options of a Handler.
type Options struct {
	// Teller may be nil: nobody is told.
	Teller Teller
	Log    *slog.Logger
}

// Handler is the http.Handler of this package.
type Handler struct {
	hub    *hub.Hub
	teller Teller
	log    *slog.Logger
	gate   *gate
	quick  *quick.Taker
	recent recentPacks
}

// New returns a handler for the repositories of h.
func New(h *hub.Hub, options Options) *Handler {
	return &Handler{hub: h, teller: options.Teller, log: options.Log, gate: newGate(), quick: quick.New(h.Command)}
}

// Handles reports whether a request with this path is git's: the path names a
// repository or something in one.
func Handles(path string) bool {
	return strings.HasSuffix(path, ".git") || strings.Contains(path, ".git/")
}

// Access returns which repository a request is about, empty where it is none, and
// whether it is part of a push.
func Access(r *http.Request) (repository string, changes bool) {
	name, what, err := splitPath(r.URL.Path)
	if err != nil {
		return "", false
	}
	return name, what == string(receivePack) || what == "info/refs" && r.URL.Query().Get("service") == string(receivePack)
}

// service is one of git's two.
type service string

const (
	uploadPack  service = "git-upload-pack"
	receivePack service = "git-receive-pack"
)

// command is the service as a subcommand of git.
func (s service) command() string { return strings.TrimPrefix(string(s), "git-") }

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{Handler: h, w: w, r: r}
	if err := x.serve(); err != nil {
		x.fail(err)
	}
	x.body.finish()
}

// exchange is one request and its answer.
type exchange struct {
	*Handler
	w    http.ResponseWriter
	r    *http.Request
	body *body  // nil until it is opened
	lane *lane  // of the repository
	done func() // gives the place for a process back; nil where there is none
}

func (x *exchange) serve() error {
	name, what, err := splitPath(x.r.URL.Path)
	if err != nil {
		return err
	}
	serve := map[string]func(string) error{"info/refs": x.refs, string(uploadPack): x.fetch, string(receivePack): x.push}[what]
	if serve != nil {
		if x.lane, err = x.gate.enter(name); err != nil {
			return err
		}
		defer x.gate.leave(name)
		defer x.release()
		return serve(name)
	}
	// The dumb protocol. Whether the repository is there makes no difference.
	return errDumb
}

// splitPath takes "/NAME.git/what" apart. The name is judged by the hub.
func splitPath(path string) (name, what string, err error) {
	repository, what, ok := strings.Cut(strings.TrimPrefix(path, "/"), ".git/")
	if !ok {
		return "", "", &statusError{http.StatusNotFound, "this is not a path of a git repository: want /NAME.git/…"}
	}
	return repository, what, nil
}

// refs answers the request that opens every exchange.
func (x *exchange) refs(name string) error {
	if err := wantMethod(x.r, http.MethodGet); err != nil {
		return err
	}
	var svc service
	switch svc = service(x.r.URL.Query().Get("service")); svc {
	case uploadPack, receivePack:
	case "":
		return errDumb
	default:
		return &statusError{http.StatusForbidden, fmt.Sprintf("service %.40q is not served: want git-upload-pack or git-receive-pack", string(svc))}
	}
	protocol, err := gitProtocol(x.r)
	if err != nil {
		return err
	}
	path, err := x.hub.Path(name)
	if err != nil {
		return err
	}
	out := x.answer("application/x-" + string(svc) + "-advertisement")
	if svc == receivePack || !strings.Contains(protocol, "version=2") {
		// Of version 2, only what upload-pack has exists.
		out.prefix = packet("# service="+string(svc)+"\n") + flushPacket
	}
	return x.run(x.r.Context(), process{
		protocol: protocol,
		args:     []string{svc.command(), "--stateless-rpc", "--http-backend-info-refs", path},
		stdout:   out,
		answer:   out,
	})
}

// fetch answers one round of a clone or fetch.
func (x *exchange) fetch(name string) error {
	protocol, err := x.checkPost(uploadPack)
	if err != nil {
		return err
	}
	path, err := x.hub.Path(name)
	if err != nil {
		return err
	}
	if err := x.openBody(maxNegotiation, "a request to fetch"); err != nil {
		return err
	}
	out := x.answer("application/x-git-upload-pack-result")
	request, done, err := x.quickFetch(name, protocol, out)
	if done || err != nil {
		return err
	}
	return x.run(x.r.Context(), process{
		protocol: protocol,
		args:     []string{uploadPack.command(), "--stateless-rpc", path},
		stdin:    request,
		stdout:   out,
		answer:   out,
	})
}

// checkPost checks the head of a POST and returns its Git-Protocol.
func (x *exchange) checkPost(svc service) (protocol string, err error) {
	if err := wantMethod(x.r, http.MethodPost); err != nil {
		return "", err
	}
	// Also keeps web pages out: a browser sends this type across origins only
	// after asking, and is never told yes.
	want := "application/x-" + string(svc) + "-request"
	if got := x.r.Header.Get("Content-Type"); got != want {
		return "", &statusError{http.StatusUnsupportedMediaType, fmt.Sprintf("content type %.60q: want %s", got, want)}
	}
	return gitProtocol(x.r)
}

// gitProtocol returns the Git-Protocol header, which becomes a variable of
// git's environment: keys and values as git defines them, and short.
func gitProtocol(r *http.Request) (string, error) {
	const maxLength = 100 // "version=2" has 9
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789=:.-"
	protocol := r.Header.Get("Git-Protocol")
	if len(protocol) > maxLength || strings.Trim(protocol, allowed) != "" {
		return "", &statusError{http.StatusBadRequest, "the Git-Protocol header is malformed: want something like version=2"}
	}
	return protocol, nil
}

func wantMethod(r *http.Request, method string) error {
	if r.Method != method {
		return &statusError{http.StatusMethodNotAllowed, fmt.Sprintf("method %.10q: want %s", r.Method, method)}
	}
	return nil
}
