package identity

import (
	"crypto"
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
	"net/url"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

const (
	// AuthorityLife is how long an authority is valid: as long as any devspace
	// should live. One that is to be replaced sooner is made anew by deleting
	// its Secret and creating the devspace again.
	AuthorityLife = 10 * 365 * 24 * time.Hour
	// backdate allows for clocks that differ.
	backdate = 5 * time.Minute

	typeCertificate = "CERTIFICATE"
	typeKey         = "PRIVATE KEY"
	typeRequest     = "CERTIFICATE REQUEST"
)

// lives are how long certificates are valid. A developer's has to be short: it
// cannot be called back.
var lives = map[Kind]time.Duration{Hub: 24 * time.Hour, Pod: 24 * time.Hour, Developer: time.Hour}

// Authority signs the certificates of one devspace.
type Authority struct {
	devspace    string
	certificate *x509.Certificate
	key         crypto.Signer
}

// NewAuthority makes the authority of a devspace.
func NewAuthority(devspace string) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: devspace, Organization: []string{api.Domain}},
		NotBefore:             time.Now().Add(-backdate),
		NotAfter:              time.Now().Add(AuthorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the authority of devspace %s: %w", devspace, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the authority of devspace %s: %w", devspace, err)
	}
	return &Authority{devspace, certificate, key}, nil
}

// ParseAuthority reads an authority from what Certificate and Key returned.
func ParseAuthority(certificate, key []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("parsing an authority: %w", err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("parsing an authority: the certificate is not one of an authority")
	}
	return &Authority{pair.Leaf.Subject.CommonName, pair.Leaf, signer}, nil
}

// Devspace returns whose authority it is.
func (a *Authority) Devspace() string { return a.devspace }

// Ends returns when it ceases to be valid.
func (a *Authority) Ends() time.Time { return a.certificate.NotAfter }

// Certificate returns, in PEM, what everybody in the devspace trusts.
func (a *Authority) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: a.certificate.Raw})
}

// Key returns the key in PEM.
func (a *Authority) Key() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of an authority: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: der}), nil
}

// Roots returns the pool that holds the authority alone.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// Sign answers a request in PEM with a certificate in PEM. Of the request only
// the public key is used.
func (a *Authority) Sign(request []byte, who Identity) ([]byte, error) {
	block, _ := pem.Decode(request)
	if block == nil || block.Type != typeRequest {
		return nil, fmt.Errorf("the request is not a %s in PEM", typeRequest)
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing the request: %w", err)
	}
	if err := parsed.CheckSignature(); err != nil {
		return nil, fmt.Errorf("checking that the key is the requester's own: %w", err)
	}
	return a.sign(parsed.PublicKey, who)
}

// Issue makes a key and a certificate for it.
func (a *Authority) Issue(who Identity) (*tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	certificate, err := a.sign(key.Public(), who)
	if err != nil {
		return nil, err
	}
	return Pair(string(certificate), key)
}

func (a *Authority) sign(public crypto.PublicKey, who Identity) ([]byte, error) {
	who.Devspace = a.devspace
	uri, err := url.Parse(who.String())
	if err != nil {
		return nil, fmt.Errorf("naming %s: %w", who, err)
	}
	if read, err := Parse(uri); err != nil || read != who {
		return nil, fmt.Errorf("naming %s: this is no identity", who)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: string(who.Kind), Organization: []string{a.devspace}},
		NotBefore:             time.Now().Add(-backdate),
		NotAfter:              time.Now().Add(lives[who.Kind]),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           usages[who.Kind],
		URIs:                  []*url.URL{uri},
		DNSNames:              a.hosts(who),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %s: %w", who, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: der}), nil
}

// usages say who serves and who asks: a pod, in which somebody's code runs and
// can read its key, cannot give orders to other pods with it.
var usages = map[Kind][]x509.ExtKeyUsage{
	Hub:       {x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	Pod:       {x509.ExtKeyUsageServerAuth},
	Developer: {x509.ExtKeyUsageClientAuth},
}

// hosts returns the host names of a server.
func (a *Authority) hosts(who Identity) []string {
	switch who.Kind {
	case Hub:
		service := api.HubName + "." + a.devspace
		return []string{api.HubName, service, service + ".svc", service + ".svc.cluster.local"}
	case Pod:
		return []string{who.ServerName()}
	}
	return nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

func serialNumber() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return serial, nil
}
