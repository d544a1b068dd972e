// Package hubtest gives any test a real hub on a loopback port.
//
//	h := hubtest.New(t)
//	url := h.CreateRepository("orders")        // http://127.0.0.1:PORT/orders.git
//	h.SetStingers("orders", stinger.URL)       // told of each push from now on
//	… push to url …
//	if h.Head("orders") != commit { … }
//
// NewSecure's is the hub of a devspace, with TLS and tokens.
//
// It serves what the program tanajura serves, with the real git below. The hub
// ends with the test, and its files are the test's temporary directory.
package hubtest

import (
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/tanajura/authority"
	"github.com/formicarium/formicarium/tanajura/guard"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/server"
	"github.com/formicarium/formicarium/tanajura/smarthttp"
	"github.com/formicarium/formicarium/tanajura/tell"
)

// Hub is a running hub.
type Hub struct {
	// URL is the hub's, without a path: "http://127.0.0.1:PORT".
	URL string
	// Dir is where its repositories are.
	Dir string

	t     testing.TB
	close func()
	hub   *hub.Hub

	mu       sync.Mutex
	stingers map[string][]tell.Target // by service
}

// New starts a hub that has no repository and tells nobody.
func New(t testing.TB) *Hub {
	t.Helper()
	return NewWithLimits(t, hub.Limits{})
}

// NewWithLimits is New with other limits than the defaults.
func NewWithLimits(t testing.TB, limits hub.Limits) *Hub {
	t.Helper()
	return start(t, limits, security{})
}

var silent = slog.New(slog.DiscardHandler)

// security is what a hub has that knows who asks; nothing where it asks nobody.
type security struct {
	guard  *guard.Guard
	keeper *authority.Keeper
}

func start(t testing.TB, limits hub.Limits, known security) *Hub {
	t.Helper()
	h := &Hub{Dir: t.TempDir(), t: t, stingers: map[string][]tell.Target{}}
	opened, err := hub.Open(h.Dir, limits, silent)
	if err != nil {
		t.Fatal(err)
	}
	h.hub = opened
	teller := tell.New(h.targets)
	if known.keeper != nil {
		teller = tell.NewMutual(h.targets, known.keeper)
	}
	listening := httptest.NewUnstartedServer(server.New(server.Options{
		Hub: opened, Git: smarthttp.New(opened, smarthttp.Options{Teller: teller, Log: silent}), Log: silent,
		Guard: known.guard, Signer: known.keeper,
	}))
	listening.Config.ErrorLog = slog.NewLogLogger(silent.Handler(), slog.LevelWarn)
	if known.keeper != nil {
		listening.TLS = identity.ServerConfig(known.keeper.Certificate, known.keeper.Roots)
		listening.StartTLS()
	} else {
		listening.Start()
	}
	h.URL = listening.URL
	h.close = sync.OnceFunc(func() {
		listening.CloseClientConnections()
		listening.Close()
		opened.Close()
	})
	t.Cleanup(h.close)
	return h
}

// CreateRepository makes an empty repository and returns its URL.
func (h *Hub) CreateRepository(name string) string {
	h.t.Helper()
	if _, err := h.hub.Create(name); err != nil {
		h.t.Fatal(err)
	}
	return h.RepositoryURL(name)
}

// RepositoryURL returns the URL of a repository, be it there or not.
func (h *Hub) RepositoryURL(name string) string { return h.URL + "/" + name + ".git" }

// DeleteRepository removes a repository.
func (h *Hub) DeleteRepository(name string) {
	h.t.Helper()
	if err := h.hub.Delete(name); err != nil {
		h.t.Fatal(err)
	}
}

// Head returns the commit at the branch that pods run; empty before the first
// push.
func (h *Hub) Head(name string) string {
	h.t.Helper()
	id, err := h.hub.Head(name)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// SetStingers makes the Stingers at these URLs, and no others, the service's.
// In outcomes each has its host and port for a pod's name and the service's
// name for a container's.
func (h *Hub) SetStingers(service string, urls ...string) {
	h.t.Helper()
	items := make([]string, len(urls))
	for i, url := range urls {
		items[i] = service + "=" + strings.TrimSuffix(url, "/")
	}
	list, err := tell.ParseStatic(items)
	if err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stingers[service] = list[service]
}

// Close ends the hub before its test does, with collections under way.
func (h *Hub) Close() { h.close() }

func (h *Hub) targets(service string) []tell.Target {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.stingers[service])
}
