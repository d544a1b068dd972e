package credential

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/formicarium/formicarium/internal/api"
)

// maxFile bounds what is read of an identity's file: a token has a kilobyte or
// two, and an authority less.
const maxFile = 64 << 10

// trust reads what says whom to believe.
type trust struct {
	dir string

	mu     sync.Mutex // guards what follows
	data   []byte
	parsed []*x509.Certificate
}

// authorities returns those of the devspace, of which there is at least one
// where there is no error. They are parsed again when the file is another.
func (t *trust) authorities() ([]*x509.Certificate, error) {
	data, err := readFile(t.dir, api.IdentityAuthority)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s: the namespace is no devspace, or one of an earlier version (make it, or bring it up to date, with kubectl fmc devspace create NAME)",
			filepath.Join(t.dir, api.IdentityAuthority))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the devspace's authority: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.parsed != nil && bytes.Equal(data, t.data) {
		return t.parsed, nil
	}
	parsed, err := parseAuthorities(data)
	if err != nil {
		return nil, fmt.Errorf("reading the devspace's authority from %s: %w", filepath.Join(t.dir, api.IdentityAuthority), err)
	}
	t.data, t.parsed = data, parsed
	return parsed, nil
}

func parseAuthorities(data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("there is no certificate in PEM")
	}
	return list, nil
}

// roots returns the authorities as a pool.
func (t *trust) roots() (*x509.CertPool, error) {
	list, err := t.authorities()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range list {
		pool.AddCert(c)
	}
	return pool, nil
}

// has reports whether an authority is one of the devspace still.
func (t *trust) has(authority *x509.Certificate) bool {
	list, err := t.authorities()
	return err == nil && slices.ContainsFunc(list, authority.Equal)
}

// token returns the pod's, as the kubelet has written it last.
func (t *trust) token() (string, error) {
	path := filepath.Join(t.dir, api.IdentityToken)
	data, err := readFile(t.dir, api.IdentityToken)
	if err != nil {
		return "", fmt.Errorf("reading the pod's token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	// What is in the file is not to be shown, whatever it is.
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("reading the pod's token: what %s holds is none", path)
	}
	return token, nil
}

func readFile(dir, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", f.Name(), maxFile)
	}
	return data, err
}
