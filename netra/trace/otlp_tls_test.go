package trace

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
)

func TestOTLPOverTLS(t *testing.T) {
	c := newOTLPCollector(t, func(_ http.ResponseWriter, r *http.Request, _ int64) int {
		if len(r.TLS.PeerCertificates) != 1 {
			t.Error("no client certificate came")
		}
		return http.StatusOK
	})
	c.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	c.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that fails
	c.StartTLS()
	t.Cleanup(c.Close)
	roots := x509.NewCertPool()
	roots.AddCert(c.Certificate())

	e := startOTLP(t, c.URL, func(s *OTLPSettings) {
		s.TLS = &tls.Config{RootCAs: roots, Certificates: c.TLS.Certificates} // any certificate will do
	})
	e.export("a", "b")
	if got := c.next(t) + c.next(t); got != "ab" {
		t.Errorf("spans %s, want ab", got)
	}

	stranger := startOTLP(t, c.URL, nil)
	stranger.export("c", "d")
	stranger.awaitDropped(t, 2) // at once: it will not be trusted a second later
	if log := stranger.log.String(); !strings.Contains(log, "certificate") {
		t.Errorf("log:\n%s", log)
	}
}
