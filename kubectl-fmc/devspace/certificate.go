package devspace

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// certificate is a serving certificate with the authority that signed it, all
// in PEM.
type certificate struct {
	CA, Certificate, Key []byte
}

const (
	// certificateLife is long because nothing renews it between two installs.
	certificateLife = 10 * 365 * 24 * time.Hour
	// certificateRest is the time left below which an install renews it.
	certificateRest = 180 * 24 * time.Hour
)

// makeCertificate makes an authority, lets it sign one certificate for the
// given names, and throws its key away: it can sign nothing else.
func makeCertificate(names []string, now time.Time) (certificate, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate{}, fmt.Errorf("making the authority's key: %w", err)
	}
	ca, err := template("formicarium webhook authority", now)
	if err != nil {
		return certificate{}, err
	}
	ca.IsCA, ca.BasicConstraintsValid, ca.MaxPathLenZero = true, true, true
	ca.KeyUsage = x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return certificate{}, fmt.Errorf("making the authority's certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate{}, fmt.Errorf("making the webhook's key: %w", err)
	}
	leaf, err := template(names[0], now)
	if err != nil {
		return certificate{}, err
	}
	leaf.DNSNames = names
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return certificate{}, fmt.Errorf("signing the webhook's certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return certificate{}, fmt.Errorf("encoding the webhook's key: %w", err)
	}
	return certificate{
		CA:          pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

func template(name string, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour), // the cluster's clock may be behind
		NotAfter:     now.Add(certificateLife),
	}, nil
}

// usable reports why c cannot go on serving the given names, or nil.
func (c certificate) usable(names []string, now time.Time) error {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.CA) {
		return fmt.Errorf("the authority's certificate is not readable")
	}
	block, _ := pem.Decode(c.Certificate)
	if block == nil {
		return fmt.Errorf("the certificate is not readable")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("parsing the certificate: %w", err)
	}
	for _, name := range names {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now.Add(certificateRest)}); err != nil {
			return fmt.Errorf("verifying the certificate for %s: %w", name, err)
		}
	}
	block, _ = pem.Decode(c.Key)
	if block == nil {
		return fmt.Errorf("the key is not readable")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("parsing the key: %w", err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(leaf.PublicKey) {
		return fmt.Errorf("the key is not the certificate's")
	}
	return nil
}

// hash changes with the certificate.
func (c certificate) hash() string {
	sum := sha256.Sum256(append(append([]byte{}, c.CA...), c.Certificate...))
	return hex.EncodeToString(sum[:8])
}
