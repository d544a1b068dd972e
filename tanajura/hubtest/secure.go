package hubtest

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/tanajura/authority"
	"github.com/formicarium/formicarium/tanajura/guard"
	"github.com/formicarium/formicarium/tanajura/guard/guardtest"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/tell"
)

// Secure is the hub of a devspace. It serves TLS, with a certificate for
// api.HubName, and wants tokens.
type Secure struct {
	*Hub
	Devspace string
	// Authority is the devspace's.
	Authority *identity.Authority
	// AuthorityDir is where the hub reads it: files tls.crt, which is also what
	// all others trust, and tls.key.
	AuthorityDir string
	// Cluster knows the tokens and the rights: GrantDeveloper has been called.
	Cluster *guardtest.Cluster
}

// NewSecure starts the hub of a devspace that has no repository and tells nobody.
func NewSecure(t testing.TB, devspace string) *Secure {
	t.Helper()
	made, err := identity.NewAuthority(devspace)
	if err != nil {
		t.Fatal(err)
	}
	key, err := made.Key()
	if err != nil {
		t.Fatal(err)
	}
	s := &Secure{Devspace: devspace, Authority: made, AuthorityDir: t.TempDir(), Cluster: guardtest.New(t)}
	for name, data := range map[string][]byte{api.AuthorityCertificate: made.Certificate(), api.AuthorityKey: key} {
		if err := os.WriteFile(filepath.Join(s.AuthorityDir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keeper, err := authority.Open(s.AuthorityDir, devspace, silent)
	if err != nil {
		t.Fatal(err)
	}
	s.Cluster.GrantDeveloper(devspace)
	reviews := guard.NewReviews(s.Cluster.Client, devspace)
	s.Hub = start(t, hub.Limits{}, security{
		guard:  guard.New(guard.Options{Devspace: devspace, Authenticator: reviews, Authorizer: reviews, Log: silent}),
		keeper: keeper,
	})
	return s
}

// SetTargets makes these Stingers, and no others, the service's.
func (s *Secure) SetTargets(service string, targets ...tell.Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stingers[service] = targets
}

// Client returns a client that knows the hub by its certificate, and sends a token,
// or none where it is empty.
func (s *Secure) Client(token string) *http.Client {
	transport := &http.Transport{TLSClientConfig: identity.ClientConfig(identity.Identity{Kind: identity.Hub}, s.Authority.Roots(), nil)}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: bearer{transport, token}}
}

type bearer struct {
	http.RoundTripper
	token string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.RoundTripper.RoundTrip(r)
}
