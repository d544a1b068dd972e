package devspace

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"
)

var certificateNames = []string{"fmc-webhook.fmc-system.svc", "fmc-webhook.fmc-system.svc.cluster.local"}

func TestCertificateServes(t *testing.T) {
	c, err := makeCertificate(certificateNames, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(c.Certificate, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.CA)
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	go tls.Server(server, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake()
	if err := tls.Client(client, &tls.Config{RootCAs: roots, ServerName: certificateNames[0]}).Handshake(); err != nil {
		t.Errorf("handshake: %v", err)
	}
}

func TestCertificateUsable(t *testing.T) {
	now := time.Now()
	c, err := makeCertificate(certificateNames, now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := makeCertificate(certificateNames, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.usable(certificateNames, now); err != nil {
		t.Errorf("a new certificate is not usable: %v", err)
	}
	foreignCA, foreignKey := c, c
	foreignCA.CA = other.CA
	foreignKey.Key = other.Key
	for what, bad := range map[string]struct {
		c     certificate
		names []string
		now   time.Time
	}{
		"near its end":      {c, certificateNames, now.Add(certificateLife - 30*24*time.Hour)},
		"another name":      {c, []string{"other.fmc-system.svc"}, now},
		"another authority": {foreignCA, certificateNames, now},
		"another key":       {foreignKey, certificateNames, now},
		"empty":             {certificate{}, certificateNames, now},
	} {
		if err := bad.c.usable(bad.names, bad.now); err == nil {
			t.Errorf("%s: usable", what)
		}
	}
	if c.hash() == other.hash() {
		t.Error("two certificates have one hash")
	}
}
