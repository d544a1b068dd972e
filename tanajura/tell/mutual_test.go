package tell_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/tanajura/tell"
)

// credentials are a hub's, which may change.
type credentials struct {
	mu        sync.Mutex
	authority *identity.Authority
	own       *tls.Certificate
}

func (c *credentials) Certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own, nil
}

func (c *credentials) Roots() (*x509.CertPool, error) { return c.authority.Roots(), nil }

func (c *credentials) renew(t *testing.T) {
	t.Helper()
	own, err := c.authority.Issue(identity.Identity{Kind: identity.Hub})
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own = own
}

// podServer is a Stinger that serves with a pod's identity, and notes who asks and
// by which connection.
func podServer(t *testing.T, c *credentials, pod identity.Identity, asked func(peer, from string)) tell.Target {
	t.Helper()
	certificate, err := c.authority.Issue(pod)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := identity.Peer(r.TLS)
		asked(who.String(), r.RemoteAddr)
		json.NewEncoder(w).Encode(api.PullResult{Commit: commit, PID: 17})
	}))
	s.TLS = identity.ServerConfig(func() (*tls.Certificate, error) { return certificate, nil }, c.Roots)
	s.StartTLS()
	t.Cleanup(s.Close)
	return tell.Target{Pod: pod.Name, Container: "app", URL: s.URL, Identity: pod}
}

// Hub and Stinger show each other who they are, over a connection that is kept until
// the hub has a new certificate.
func TestMutual(t *testing.T) {
	authority, err := identity.NewAuthority("mine")
	if err != nil {
		t.Fatal(err)
	}
	c := &credentials{authority: authority}
	c.renew(t)
	var mu sync.Mutex
	var connections []string
	target := podServer(t, c, identity.Identity{Devspace: "mine", Kind: identity.Pod, Name: "orders-1", UID: "5f0c"}, func(peer, from string) {
		if peer != "formicarium://mine/hub" {
			t.Errorf("%s asks", peer)
		}
		mu.Lock()
		defer mu.Unlock()
		connections = append(connections, from)
	})
	stingers := tell.NewMutual(tell.Static{"orders": {target}}.Targets, c)
	for range 2 {
		if got := all(stingers.Tell(t.Context(), "orders", commit))["orders-1"]; got.Error != "" || got.Result.PID != 17 {
			t.Errorf("outcome %+v", got)
		}
	}
	c.renew(t)
	all(stingers.Tell(t.Context(), "orders", commit))
	mu.Lock()
	defer mu.Unlock()
	if len(connections) != 3 || connections[0] != connections[1] || connections[1] == connections[2] {
		t.Errorf("the connections were %v, want one for the first two and another for the third", connections)
	}
}

// At the address of a pod that is gone there may be another: it is not asked, not
// even over a connection that is open.
func TestMutualRefusesAnotherPod(t *testing.T) {
	authority, err := identity.NewAuthority("mine")
	if err != nil {
		t.Fatal(err)
	}
	c := &credentials{authority: authority}
	c.renew(t)
	var asked atomic.Int32
	target := podServer(t, c, identity.Identity{Devspace: "mine", Kind: identity.Pod, Name: "orders-1", UID: "5f0c"}, func(string, string) { asked.Add(1) })
	later := target
	later.Pod, later.Identity.UID = "orders-2", "6a1d"
	stingers := tell.NewMutual(tell.Static{"a": {target}, "b": {later}}.Targets, c)
	if got := all(stingers.Tell(t.Context(), "a", commit))["orders-1"]; got.Error != "" {
		t.Fatalf("outcome %+v", got)
	}
	got := all(stingers.Tell(t.Context(), "b", commit))["orders-2"]
	if !strings.Contains(got.Error, "making sure of pod orders-2") || asked.Load() != 1 {
		t.Errorf("outcome %+v; asked %d times", got, asked.Load())
	}
}
