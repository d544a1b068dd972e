// Package hubtest gives any test a real hub on a loopback port.
//
//	h := hubtest.New(t)
//	url := h.CreateRepository("orders")        // http://127.0.0.1:PORT/orders.git
//	h.SetStingers("orders", stinger.URL)       // told of each push from now on
//	… push to url …
//	if h.Head("orders") != commit { … }
//
// It serves what the program tanajura serves, with the real git below. The hub
// ends with the test, and its files are the test's temporary directory.
package hubtest

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

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
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	h := &Hub{Dir: t.TempDir(), t: t, stingers: map[string][]tell.Target{}}
	opened, err := hub.Open(h.Dir, limits, log)
	if err != nil {
		t.Fatal(err)
	}
	h.hub = opened
	git := smarthttp.New(opened, smarthttp.Options{Teller: tell.New(h.targets), Log: log})
	listening := httptest.NewServer(server.New(server.Options{Hub: opened, Git: git, Log: log}))
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
