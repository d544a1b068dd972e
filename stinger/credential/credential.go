// Package credential is who a Stinger is to others, and who may give it orders.
//
//	keeper := credential.New(credential.Options{Dir: api.IdentityPath, Hub: "https://tanajura:24090", Log: log})
//	go keeper.Run(ctx)
//	listener = tls.NewListener(listener, keeper.ServerConfig())
//	handler = keeper.Guard(handler)
//	pull.Open(pull.Options{Transport: keeper.Transport(), …})
//
// In a directory that the kubelet keeps there are the pod's token and the
// certificate of its devspace's authority; both may change, and the second may
// come later, so they are read when they are needed. With the token the Keeper
// gets a certificate from the hub, and a new one when two thirds of its life are
// over or when the devspace has another authority. Until it has the first it
// serves with a throw-away one, that nobody trusts, since the kubelet's probes
// trust any.
//
// The token goes to the hub alone: by TLS to a server that the devspace's
// authority calls its hub, and never after a redirect. Errors and log lines do
// not have it.
//
// Who asks has to be the hub or a developer of the same devspace, at the time of
// each request: a connection outlives neither a certificate nor an authority.
package credential

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
)

const (
	// check is how often the certificate is looked at: a new authority, which
	// the kubelet itself brings within a minute or two, is answered by then. It
	// bounds as well how often a node whose clock is wrong asks for a new one.
	check = time.Minute
	// retryFirst and retryMax bound the wait between two attempts to get the
	// first certificate, without which a push does not reach the pod; the later
	// ones have a third of a certificate's life.
	retryFirst = 100 * time.Millisecond
	retryMax   = 5 * time.Second
	retryLater = time.Minute
)

// Options say where a Keeper finds what it needs.
type Options struct {
	// Dir has the files api.IdentityToken and api.IdentityAuthority.
	Dir string
	// Hub is the hub's address, https://HOST:PORT.
	Hub string
	Log *slog.Logger
	// Dial connects to the hub; nil does it by the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the time; nil is time.Now.
	Now func() time.Time
	// Check is how often the certificate is looked at; zero is a minute.
	Check time.Duration
}

// Keeper keeps a pod's credentials. Its methods may be called at the same time.
type Keeper struct {
	opts   Options
	trust  trust
	client *http.Client

	mu          sync.Mutex       // guards what follows
	certificate *tls.Certificate // the devspace's; nil before the first
	throwAway   *tls.Certificate
}

// New returns a Keeper without a certificate; Run gets it.
func New(opts Options) *Keeper {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Dial == nil {
		opts.Dial = (&net.Dialer{Timeout: dialLimit}).DialContext
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Check == 0 {
		opts.Check = check
	}
	k := &Keeper{opts: opts, trust: trust{dir: opts.Dir}}
	k.client = &http.Client{
		Transport:     k.Transport(),
		Timeout:       requestLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return k
}

// IsHub reports whether a host, without a port, is called as a devspace's hub
// is: what is called so has to be it.
func IsHub(host string) bool {
	host = strings.ToLower(host)
	return host == api.HubName || strings.HasPrefix(host, api.HubName+".")
}

// ServerConfig is that of the listener.
func (k *Keeper) ServerConfig() *tls.Config {
	return identity.ServerConfig(k.serving, func() (*x509.CertPool, error) {
		pool := x509.NewCertPool()
		// Without an authority no client's certificate is good. That is no
		// reason to leave the probes without an answer.
		authorities, _ := k.trust.authorities()
		for _, a := range authorities {
			pool.AddCert(a)
		}
		return pool, nil
	})
}

// serving returns the certificate to serve with.
func (k *Keeper) serving() (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.certificate != nil {
		return k.certificate, nil
	}
	if k.throwAway == nil {
		made, err := newThrowAway(k.opts.Now())
		if err != nil {
			return nil, err
		}
		k.throwAway = made
	}
	return k.throwAway, nil
}

func (k *Keeper) present() *tls.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.certificate
}

func (k *Keeper) replace(c *tls.Certificate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.certificate, k.throwAway = c, nil
}

// newThrowAway makes a certificate that names nobody. Its key comes from a
// request whose authority is the requester.
func newThrowAway(now time.Time) (*tls.Certificate, error) {
	key, _, err := identity.NewRequest()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for probes: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
