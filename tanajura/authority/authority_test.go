package authority

import (
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
)

var silent = slog.New(slog.DiscardHandler)

// put writes a new authority into a directory.
func put(t *testing.T, dir, devspace string) *identity.Authority {
	t.Helper()
	made, err := identity.NewAuthority(devspace)
	if err != nil {
		t.Fatal(err)
	}
	key, err := made.Key()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{api.AuthorityCertificate: made.Certificate(), api.AuthorityKey: key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	empty, other, broken := t.TempDir(), t.TempDir(), t.TempDir()
	put(t, other, "yours")
	put(t, broken, "mine")
	if err := os.WriteFile(filepath.Join(broken, api.AuthorityKey), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{empty: "no such file", other: `of devspace "yours"`, broken: "parsing an authority"} {
		if _, err := Open(dir, "mine", silent); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "devspace create mine") {
			t.Errorf("%v, want %q and the way out", err, want)
		}
	}
}

// An authority that is replaced is taken up; one that cannot be read leaves the hub
// with what it has.
func TestKeeper(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "mine")
	k, err := Open(dir, "mine", silent)
	if err != nil {
		t.Fatal(err)
	}
	lookAgainNow := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.looked = time.Time{}
	}
	first, err := k.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	lookAgainNow()
	if same, err := k.Certificate(); err != nil || same != first {
		t.Errorf("another certificate without a need: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, api.AuthorityKey)); err != nil {
		t.Fatal(err)
	}
	lookAgainNow()
	if same, err := k.Certificate(); err != nil || same != first {
		t.Errorf("without a key: another certificate, %v", err)
	}
	replaced := put(t, dir, "mine")
	lookAgainNow()
	next, err := k.Certificate()
	if err != nil || next == first {
		t.Fatalf("the certificate is still the first: %v", err)
	}
	if err := next.Leaf.CheckSignatureFrom(parse(t, replaced)); err != nil {
		t.Error(err)
	}
	// A third of its life is left.
	k.mu.Lock()
	k.own.Leaf.NotBefore, k.own.Leaf.NotAfter = time.Now().Add(-3*time.Hour), time.Now().Add(time.Hour)
	k.mu.Unlock()
	lookAgainNow()
	if renewed, err := k.Certificate(); err != nil || renewed == next {
		t.Errorf("it was not renewed: %v", err)
	}
}

func parse(t *testing.T, a *identity.Authority) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(a.Certificate())
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
