package gittest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
)

// Devspace is a Hub as a devspace has it: it speaks TLS with a certificate of the
// devspace's authority, wants a token, and gives certificates to pods. It is
// called tanajura and is on a loopback port.
type Devspace struct {
	*Hub
	// Address is where it really is, host:port.
	Address string
	// Pod is whom it takes the token for.
	Pod identity.Identity

	mu        sync.Mutex // guards what follows
	authority *identity.Authority
	token     string
	given     int
	redirect  string
}

// NewDevspace starts the hub of a devspace; it ends with the test.
func NewDevspace(t testing.TB, name string) *Devspace {
	t.Helper()
	d := &Devspace{Hub: New(t), Pod: identity.Identity{Devspace: name, Kind: identity.Pod, Name: "orders-1", UID: "5f0c"}, token: "header.claims.signature"}
	d.Renew()
	d.server.Close()
	d.begin = func(s *httptest.Server) {
		s.Config.Handler = http.HandlerFunc(d.serveDevspace)
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // tests have clients that go away
		s.TLS = identity.ServerConfig(func() (*tls.Certificate, error) {
			return d.Authority().Issue(identity.Identity{Kind: identity.Hub})
		}, func() (*x509.CertPool, error) { return d.Authority().Roots(), nil })
		s.StartTLS()
	}
	d.server = httptest.NewUnstartedServer(nil)
	d.begin(d.server)
	d.Address = d.server.Listener.Addr().String()
	_, port, err := net.SplitHostPort(d.Address)
	d.must(err)
	d.URL = "https://" + api.HubName + ":" + port + "/svc.git"
	return d
}

// Authority returns the devspace's.
func (d *Devspace) Authority() *identity.Authority {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.authority
}

// Renew gives the devspace another authority.
func (d *Devspace) Renew() {
	d.t.Helper()
	a, err := identity.NewAuthority(d.Pod.Devspace)
	d.must(err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.authority = a
}

// SetToken says what token is good.
func (d *Devspace) SetToken(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.token = token
}

// Redirect answers everything with a redirect to the address.
func (d *Devspace) Redirect(to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.redirect = to
}

// Given returns how many certificates it gave.
func (d *Devspace) Given() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.given
}

// WriteIdentity writes what the kubelet would: the token and the authority.
func (d *Devspace) WriteIdentity(dir string) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, data := range map[string][]byte{api.IdentityToken: []byte(d.token + "\n"), api.IdentityAuthority: d.authority.Certificate()} {
		path := filepath.Join(dir, name)
		d.must(os.WriteFile(path+".new", data, 0o600))
		d.must(os.Rename(path+".new", path))
	}
}

// Issue returns a certificate of the devspace.
func (d *Devspace) Issue(who identity.Identity) *tls.Certificate {
	d.t.Helper()
	c, err := d.Authority().Issue(who)
	d.must(err)
	return c
}

func (d *Devspace) serveDevspace(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	token, redirect, authority := d.token, d.redirect, d.authority
	d.mu.Unlock()
	switch {
	case redirect != "":
		http.Redirect(w, r, redirect, http.StatusTemporaryRedirect)
	case r.Header.Get("Authorization") != "Bearer "+token:
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(api.Error{Error: "the hub does not know this token"})
	case r.Method == http.MethodPost && r.URL.Path == api.PathCertificates:
		var request api.CertificateRequest
		err := json.NewDecoder(r.Body).Decode(&request)
		var certificate []byte
		if err == nil {
			certificate, err = authority.Sign([]byte(request.Request), d.Pod)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(api.Error{Error: err.Error()})
			return
		}
		d.mu.Lock()
		d.given++
		d.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(api.Certificate{Certificate: string(certificate)})
	default:
		d.serve(w, r)
	}
}
