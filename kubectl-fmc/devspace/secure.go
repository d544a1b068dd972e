package devspace

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	corev1 "k8s.io/api/core/v1"
)

// Secure encrypts a connection to a pod after it has made sure who is at the
// other end. It closes conn where it fails.
type Secure func(ctx context.Context, conn net.Conn) (net.Conn, error)

// secureHub is the Secure for the devspace's hub, which knows the developer by
// the token on each request.
func (d *developer) secureHub(ctx context.Context, conn net.Conn) (net.Conn, error) {
	roots, err := d.roots(ctx)
	if err != nil {
		conn.Close()
		return nil, err
	}
	secured, err := handshake(ctx, conn, identity.ClientConfig(identity.Identity{Kind: identity.Hub}, roots, nil))
	if err != nil {
		// The devspace may have been deleted and made anew since the authority
		// was read; the next attempt finds out.
		d.forget()
		return nil, d.explainHub(err)
	}
	return secured, nil
}

// secureStinger returns the Secure for the Stingers of a pod, which know the
// developer by its certificate. That is got before there is a connection.
func (d *developer) secureStinger(ctx context.Context, pod *corev1.Pod) (Secure, error) {
	certificate, err := d.forStingers(ctx)
	if err != nil {
		return nil, &notKnownError{err}
	}
	roots, err := d.roots(ctx)
	if err != nil {
		return nil, err
	}
	who := identity.Identity{Devspace: d.devspace, Kind: identity.Pod, Name: pod.Name, UID: string(pod.UID)}
	config := identity.ClientConfig(who, roots, func() (*tls.Certificate, error) { return certificate, nil })
	return func(ctx context.Context, conn net.Conn) (net.Conn, error) {
		secured, err := handshake(ctx, conn, config)
		if err != nil {
			return nil, explainStinger(pod, err)
		}
		return secured, nil
	}, nil
}

// notKnownError says why the plugin has no certificate for Stingers, which is no
// fault of theirs.
type notKnownError struct{ error }

func (e *notKnownError) Unwrap() error { return e.error }

func handshake(ctx context.Context, conn net.Conn, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return &secureConn{secured, conn}, nil
}

// secureConn ends without the words of farewell of TLS: to a pod that went away
// they could not be written, and streams have no deadlines.
type secureConn struct {
	*tls.Conn
	raw net.Conn
}

func (c *secureConn) Close() error { return c.raw.Close() }

// explainHub tells why the hub is not trusted, and the way out.
func (d *developer) explainHub(err error) error {
	switch {
	case isPlain(err):
		return fmt.Errorf("the hub of devspace %s does not speak TLS, so it is of an older version: run kubectl fmc devspace create %s: %w", d.devspace, d.devspace, err)
	case isOutOfTime(err):
		return fmt.Errorf("the certificate of the hub of devspace %s is not valid now: compare this machine's clock with the cluster's: %w", d.devspace, err)
	case isUntrusted(err):
		return fmt.Errorf("the hub of devspace %s has no certificate of the devspace's authority, and was told nothing: run kubectl fmc devspace create %s; if that does not help, kubectl -n %s rollout restart deployment/%s: %w",
			d.devspace, d.devspace, d.devspace, api.HubName, err)
	}
	return fmt.Errorf("securing the connection to the hub of devspace %s: %w", d.devspace, err)
}

// explainStinger tells why a Stinger is not trusted.
func explainStinger(pod *corev1.Pod, err error) error {
	switch {
	case isPlain(err):
		return fmt.Errorf("the Stinger of pod %s does not speak TLS, so the pod is of an older version: deploy its service again: %w", pod.Name, err)
	case isOutOfTime(err):
		return fmt.Errorf("the certificate of pod %s is not valid now: compare this machine's clock with the cluster's: %w", pod.Name, err)
	case isUntrusted(err):
		return fmt.Errorf("the Stinger of pod %s has no certificate of its devspace yet, which it gets from the hub; its log says what keeps it from that: kubectl -n %s logs %s: %w", pod.Name, pod.Namespace, pod.Name, err)
	}
	return fmt.Errorf("securing the connection to pod %s: %w", pod.Name, err)
}

func isPlain(err error) bool {
	var header tls.RecordHeaderError
	return errors.As(err, &header)
}

func isOutOfTime(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

func isUntrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification)
}

// authorized puts the developer's token on each request to the hub.
type authorized struct {
	developer *developer
	base      http.RoundTripper
}

func (a *authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	fail := func(err error) (*http.Response, error) {
		if r.Body != nil {
			r.Body.Close() // as a RoundTripper has to
		}
		return nil, err
	}
	if r.URL.Scheme != "https" {
		return fail(fmt.Errorf("asking the hub at %s: tokens go over https only", r.URL.Redacted()))
	}
	token, err := a.developer.bearer(r.Context())
	if err != nil {
		return fail(err)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := a.base.RoundTrip(r)
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		// It may have been called back: the next request has another.
		a.developer.token.forget()
	}
	return response, err
}
