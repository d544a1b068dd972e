package tell

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/formicarium/formicarium/internal/identity"
)

// Credentials are what a hub proves itself with, and whom it trusts.
type Credentials interface {
	Certificate() (*tls.Certificate, error)
	Roots() (*x509.CertPool, error)
}

var dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext

// NewMutual is New with credentials: a Stinger that has an identity is asked over
// TLS, where both sides show their certificates.
//
// A connection belongs to the pod's UID and not to its address, which another pod
// may have the next minute: the UID is the host of the request's URL, and the address
// is where that host is dialled.
func NewMutual(find Find, credentials Credentials) *Stingers {
	transport := newTransport()
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		target, ok := ctx.Value(targetKey{}).(Target)
		if !ok || target.Identity.Kind == "" {
			return (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}}).DialContext(ctx, network, address)
		}
		return handshake(ctx, target, credentials)
	}
	return WithTransport(find, &mutual{Transport: transport, credentials: credentials})
}

// handshake connects to the target's Stinger.
func handshake(ctx context.Context, target Target, credentials Credentials) (net.Conn, error) {
	u, err := url.Parse(target.URL)
	if err != nil {
		return nil, err
	}
	roots, err := credentials.Roots()
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, identity.ClientConfig(target.Identity, roots, credentials.Certificate))
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := secured.HandshakeContext(limited); err != nil {
		conn.Close()
		return nil, fmt.Errorf("making sure of pod %s: %w", target.Pod, err)
	}
	return secured, nil
}

// mutual gives up its connections when the hub has a new certificate: a Stinger
// looks at the one of the connection with each request.
type mutual struct {
	*http.Transport
	credentials Credentials
	last        atomic.Pointer[tls.Certificate]
}

func (m *mutual) RoundTrip(r *http.Request) (*http.Response, error) {
	now, err := m.credentials.Certificate()
	if err != nil {
		return nil, err
	}
	if before := m.last.Swap(now); before != nil && before != now {
		m.CloseIdleConnections()
	}
	return m.Transport.RoundTrip(r)
}

type targetKey struct{}

// toward is ctx with the target of a request.
func toward(ctx context.Context, target Target) context.Context {
	return context.WithValue(ctx, targetKey{}, target)
}

// base is the URL that a target's requests are made for.
func (t Target) base() (string, error) {
	if t.Identity.Kind == "" {
		return t.URL, nil
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return "", fmt.Errorf("asking the Stinger: %w", err)
	}
	u.Host = net.JoinHostPort(t.Identity.ServerName(), u.Port())
	return u.String(), nil
}
