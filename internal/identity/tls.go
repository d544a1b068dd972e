package identity

import (
	"crypto/tls"
	"crypto/x509"
)

// ServerConfig is that of a server that asks its clients for a certificate and
// serves also those who have none: Peer tells one from the other. Certificate
// and roots are asked for with each connection, so both may change.
func ServerConfig(certificate func() (*tls.Certificate, error), roots func() (*x509.CertPool, error)) *tls.Config {
	base := func() *tls.Config {
		return &tls.Config{
			MinVersion:     tls.VersionTLS13,
			NextProtos:     []string{"http/1.1"},
			ClientAuth:     tls.VerifyClientCertIfGiven,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
			// A resumed session would outlive its certificate.
			SessionTicketsDisabled: true,
		}
	}
	config := base()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool, err := roots()
		if err != nil {
			return nil, err
		}
		c := base()
		c.ClientCAs = pool
		return c, nil
	}
	return config
}

// ClientConfig is that of a client of the server that has the identity. The
// certificate, where it is not nil, is asked for with each connection.
func ClientConfig(server Identity, roots *x509.CertPool, certificate func() (*tls.Certificate, error)) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: server.ServerName()}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate() }
	}
	return config
}
