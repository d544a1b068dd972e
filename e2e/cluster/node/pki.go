package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// validity of every certificate. The whole PKI is made anew at each start, so
// a year only bounds how long one start may last.
const validity = 365 * 24 * time.Hour

// authority signs certificates; its own lies in the pki folder as NAME.crt.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// subject is what a certificate says of its holder. To Kubernetes the common
// name is the user and the organisations are the groups.
type subject struct {
	file   string // without .crt and .key
	name   string
	groups []string
	hosts  []string // names and addresses; with any, it is a server's certificate too
}

// writePKI makes the authorities and every certificate signed by them.
func (l Layout) writePKI() error {
	if err := os.MkdirAll(l.path("pki"), 0o700); err != nil {
		return err
	}
	local := []string{"localhost", "127.0.0.1"}
	trees := map[string][]subject{
		"ca": {
			{file: "apiserver", name: "kube-apiserver", hosts: append(local, NodeAddress, ServiceAddress, NodeName,
				"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc."+ClusterDomain)},
			{file: "apiserver-kubelet", name: kubeletClient},
			{file: "kubelet-server", name: "system:node:" + NodeName, groups: []string{"system:nodes"}, hosts: append(local, NodeAddress, NodeName)},
			{file: "kubelet", name: "system:node:" + NodeName, groups: []string{"system:nodes"}},
			{file: "controllers-server", name: "kube-controller-manager", hosts: local},
			{file: "scheduler-server", name: "kube-scheduler", hosts: local},
			{file: "controllers", name: "system:kube-controller-manager"},
			{file: "scheduler", name: "system:kube-scheduler"},
			{file: "proxy", name: "system:kube-proxy"},
			{file: "admin", name: "fmc-admin", groups: []string{"system:masters"}},
		},
		"front-proxy-ca": {{file: "front-proxy", name: "front-proxy-client"}},
		"etcd-ca": {
			{file: "etcd", name: "etcd", hosts: local},
			{file: "apiserver-etcd", name: "kube-apiserver"},
		},
	}
	for name, subjects := range trees {
		ca, err := l.newAuthority(name)
		if err != nil {
			return fmt.Errorf("making the authority %s: %w", name, err)
		}
		for _, s := range subjects {
			if err := l.sign(ca, s); err != nil {
				return fmt.Errorf("making the certificate of %s: %w", s.file, err)
			}
		}
	}
	_, err := l.writeKey("service-accounts")
	return err
}

func (l Layout) newAuthority(name string) (*authority, error) {
	key, err := l.writeKey(name)
	if err != nil {
		return nil, err
	}
	cert, err := newCertificate(pkix.Name{CommonName: Name + " " + name})
	if err != nil {
		return nil, err
	}
	cert.IsCA = true
	cert.BasicConstraintsValid = true
	cert.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return &authority{cert, key}, writePEM(l.pki(name+".crt"), "CERTIFICATE", der)
}

func (l Layout) sign(ca *authority, s subject) error {
	key, err := l.writeKey(s.file)
	if err != nil {
		return err
	}
	cert, err := newCertificate(pkix.Name{CommonName: s.name, Organization: s.groups})
	if err != nil {
		return err
	}
	cert.KeyUsage = x509.KeyUsageDigitalSignature
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, h := range s.hosts {
		if ip := net.ParseIP(h); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, h)
		}
	}
	if len(s.hosts) > 0 {
		cert.ExtKeyUsage = append(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, ca.cert, key.Public(), ca.key)
	if err != nil {
		return err
	}
	return writePEM(l.pki(s.file+".crt"), "CERTIFICATE", der)
}

func newCertificate(name pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      name,
		// The hour before covers a clock that is set back a little.
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(validity),
	}, nil
}

func (l Layout) writeKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(l.pki(name+".key"), "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
