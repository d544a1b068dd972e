package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Pair is a serving certificate and its key with the authority that signed it,
// all in PEM.
type Pair struct{ CA, Certificate, Key []byte }

// backdate is how much earlier than it is made a certificate begins: the API
// server's clock may be behind.
const backdate = time.Hour

// Make makes an authority, lets it sign one certificate for the given names
// that ends after life, and throws its key away.
func Make(names []string, life time.Duration, now time.Time) (Pair, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("making the authority's key: %w", err)
	}
	ca, err := template("formicarium webhook authority", life, now)
	if err != nil {
		return Pair{}, err
	}
	ca.IsCA, ca.BasicConstraintsValid, ca.MaxPathLenZero = true, true, true
	ca.KeyUsage = x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return Pair{}, fmt.Errorf("making the authority's certificate: %w", err)
	}
	// Parsed, it has the key identifier by which its leaf names it: authorities
	// share a name.
	if ca, err = x509.ParseCertificate(caDER); err != nil {
		return Pair{}, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("making the webhook's key: %w", err)
	}
	leaf, err := template(names[0], life, now)
	if err != nil {
		return Pair{}, err
	}
	leaf.DNSNames = names
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return Pair{}, fmt.Errorf("signing the webhook's certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encoding the webhook's key: %w", err)
	}
	return Pair{
		CA:          pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: caDER}),
		Certificate: pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: leafDER}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

func template(name string, life time.Duration, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
	}, nil
}

// open returns the pair as it is served, or why it cannot be for these names at
// that time.
func (p Pair) open(names []string, now time.Time) (*tls.Certificate, error) {
	if len(p.CA)+len(p.Certificate)+len(p.Key) == 0 {
		return nil, errors.New("there is none")
	}
	loaded, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(p.CA) {
		return nil, errors.New("reading its authority: there is no certificate in it")
	}
	between := x509.NewCertPool()
	for _, der := range loaded.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	for _, name := range names {
		if _, err := loaded.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between, CurrentTime: now}); err != nil {
			return nil, fmt.Errorf("verifying it for %s: %w", name, err)
		}
	}
	return &loaded, nil
}

// renewal is when a certificate is to be renewed: halfway through its life, or
// through the life that certificates have by now, if that is shorter.
func renewal(leaf *x509.Certificate, life time.Duration) time.Time {
	made := leaf.NotBefore.Add(backdate)
	return made.Add(min(leaf.NotAfter.Sub(made), life) / 2)
}
