package credential

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/formicarium/formicarium/internal/identity"
)

const (
	// dialLimit is far beyond what a connection within a cluster takes.
	dialLimit = 5 * time.Second
	// requestLimit is for a request for a certificate.
	requestLimit = 30 * time.Second
)

// Transport carries requests to the hub with the pod's token. It refuses those
// to anybody else, so that no address in a setting or an answer leads the token
// elsewhere.
func (k *Keeper) Transport() http.RoundTripper {
	hub, err := url.Parse(k.opts.Hub)
	if err != nil {
		hub = &url.URL{} // to which no request goes
	}
	return &toHub{keeper: k, hub: hub, base: &http.Transport{
		// Never by a proxy: the hub is a neighbour in the cluster.
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, fmt.Errorf("connecting to the hub without TLS is refused")
		},
		DialTLSContext: k.dialHub,
		// Between two saves, so that the next finds a warm connection.
		IdleConnTimeout:    10 * time.Minute,
		DisableCompression: true, // a pack is compressed already
	}}
}

// dialHub connects to the hub, whose certificate has to be of the authority that
// the devspace has now.
func (k *Keeper) dialHub(ctx context.Context, network, address string) (net.Conn, error) {
	roots, err := k.trust.roots()
	if err != nil {
		return nil, err
	}
	plain, err := k.opts.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := identity.ClientConfig(identity.Identity{Kind: identity.Hub}, roots, nil)
	config.Time = k.opts.Now
	connection := tls.Client(plain, config)
	limited, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	if err := connection.HandshakeContext(limited); err != nil {
		plain.Close()
		return nil, fmt.Errorf("checking that it is the hub: %w", timeless(err))
	}
	return connection, nil
}

// timeless says of a certificate that is not valid now when it is, in place of
// what the time is: that would be another error, to be logged, each time.
func timeless(err error) error {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		return err
	}
	return fmt.Errorf("by this node's clock its certificate, from %s to %s, is not valid: are the clocks of the hub's node and of this pod's right?",
		invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
}

// toHub adds the token, which is read for each request.
type toHub struct {
	keeper *Keeper
	hub    *url.URL
	base   *http.Transport
}

func (t *toHub) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := t.check(r.URL)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return t.base.RoundTrip(r)
}

func (t *toHub) check(to *url.URL) (token string, err error) {
	if to.Scheme != "https" || to.Host != t.hub.Host || !IsHub(to.Hostname()) {
		return "", fmt.Errorf("asking %s://%s: the pod's token is for the hub alone, %s", to.Scheme, to.Host, t.hub.Redacted())
	}
	return t.keeper.trust.token()
}

// CloseIdleConnections is what http.Client's does.
func (t *toHub) CloseIdleConnections() { t.base.CloseIdleConnections() }
