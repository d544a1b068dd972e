package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// NewRequest makes a key, and the request in PEM for a certificate for it.
func NewRequest() (crypto.Signer, []byte, error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate request: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: typeRequest, Bytes: der}), nil
}

// Pair joins a certificate in PEM and the key that it is for.
func Pair(certificate string, key crypto.Signer) (*tls.Certificate, error) {
	block, _ := pem.Decode([]byte(certificate))
	if block == nil || block.Type != typeCertificate {
		return nil, errors.New("parsing a certificate: it is not in PEM")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing a certificate: %w", err)
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return nil, errors.New("the certificate is for another key than the one it was asked for")
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// RenewAt returns when a certificate should be replaced: when a third of its
// life is left.
func RenewAt(c *tls.Certificate) time.Time {
	return c.Leaf.NotAfter.Add(-c.Leaf.NotAfter.Sub(c.Leaf.NotBefore) / 3)
}

// Roots reads the authorities that are trusted, in PEM.
func Roots(authorities []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, errors.New("there is no certificate of an authority in PEM")
	}
	return pool, nil
}
