package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keyPair returns a self-signed certificate of that number for 127.0.0.1.
func keyPair(t *testing.T, serial int64, end time.Time) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "fmc-webhook"},
		NotBefore: time.Unix(0, 0), NotAfter: end,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// secret is a directory written as the kubelet writes a mounted Secret: the
// files are links through ..data, which is replaced whole.
type secret struct {
	t   *testing.T
	dir string
}

func newSecret(t *testing.T) secret {
	t.Helper()
	s := secret{t, t.TempDir()}
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s secret) write(certificate, key []byte) {
	s.t.Helper()
	data, err := os.MkdirTemp(s.dir, "..version-")
	if err != nil {
		s.t.Fatal(err)
	}
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(data, name), content, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	link := filepath.Join(s.dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(data), link); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(s.dir, "..data")); err != nil {
		s.t.Fatal(err)
	}
}

func TestCertificateFollowsItsFiles(t *testing.T) {
	s := newSecret(t)
	var log bytes.Buffer
	c := NewCertificate(s.dir, slog.New(slog.NewTextHandler(&log, nil)))
	now := time.Now()
	c.now = func() time.Time { return now }
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: c.Get})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	served := func() (int64, error) {
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
	}
	expect := func(when string, want int64) {
		t.Helper()
		if got, err := served(); err != nil || got != want {
			t.Errorf("%s: certificate %d (%v), want %d", when, got, err, want)
		}
	}

	if serial, err := served(); err == nil {
		t.Errorf("without files: certificate %d", serial)
	}
	if err := c.Ready(); err == nil || !strings.Contains(err.Error(), "tls.crt") {
		t.Errorf("Ready without files = %v", err)
	}
	if !c.End().IsZero() {
		t.Errorf("End without files = %v", c.End())
	}

	end := now.Add(time.Hour).Truncate(time.Second)
	firstCert, firstKey := keyPair(t, 1, end)
	s.write(firstCert, firstKey)
	expect("with files", 1)
	if err := c.Ready(); err != nil || !c.End().Equal(end) {
		t.Errorf("Ready = %v, End = %v, want %v", err, c.End(), end)
	}

	secondCert, secondKey := keyPair(t, 2, end)
	s.write(secondCert, secondKey)
	expect("at once after a change", 1)
	now = now.Add(recheck)
	expect("a second after a change", 2)

	thirdCert, thirdKey := keyPair(t, 3, end)
	s.write(thirdCert, secondKey)
	now = now.Add(recheck)
	expect("with a key that does not fit", 2)
	expect("with a key that does not fit, again", 2)
	if n := strings.Count(log.String(), "reading the serving certificate failed"); n != 2 { // at first and now
		t.Errorf("the log tells of %d failures, want 2:\n%s", n, &log)
	}
	s.write(thirdCert, thirdKey)
	now = now.Add(recheck)
	expect("with the key that fits", 3)

	if err := os.Remove(filepath.Join(s.dir, "tls.crt")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(recheck)
	expect("with the files gone", 3)
}

func TestWhoHasACertificateThatHasEndedIsNotReady(t *testing.T) {
	s := newSecret(t)
	var log bytes.Buffer
	s.write(keyPair(t, 1, time.Unix(1e9, 0)))
	if err := NewCertificate(s.dir, slog.New(slog.NewTextHandler(&log, nil))).Ready(); err == nil || !strings.Contains(err.Error(), "2001-09-09") {
		t.Errorf("ready: %v", err)
	}
	if !strings.Contains(log.String(), "has ended") {
		t.Errorf("the log does not say that it has ended:\n%s", &log)
	}
}
