// Package authority keeps a hub's own certificate, and signs those of others, with
// the devspace's authority as it is mounted into the hub's pod.
//
//	keeper, err := authority.Open("/var/run/formicarium/authority", "mine", log)
//	listener = tls.NewListener(listener, identity.ServerConfig(keeper.Certificate, keeper.Roots))
//
// The hub's certificate lives in memory. It is replaced when a third of its life is
// left, and at once when the authority has been replaced: the files are looked at
// again with a connection or a signature, at most every few seconds.
package authority

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
)

// lookAgain is the least time between two looks at the files. The kubelet takes a
// minute to write what was changed.
const lookAgain = 5 * time.Second

// Keeper keeps the authority and the hub's certificate. Its methods may be used
// concurrently.
type Keeper struct {
	dir, devspace string
	log           *slog.Logger

	mu               sync.Mutex
	certificate, key []byte // of the authority, as read
	authority        *identity.Authority
	own              *tls.Certificate
	looked           time.Time
}

// Open reads the authority of the devspace from a directory and issues the hub's
// certificate.
func Open(dir, devspace string, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{dir: dir, devspace: devspace, log: log}
	if err := k.look(time.Now()); err != nil {
		return nil, fmt.Errorf("reading the authority of devspace %s: %w (kubectl fmc devspace create %s makes one)", devspace, err, devspace)
	}
	return k, nil
}

// Certificate returns the hub's.
func (k *Keeper) Certificate() (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return k.own, nil
}

// Roots returns whom the devspace trusts.
func (k *Keeper) Roots() (*x509.CertPool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return k.authority.Roots(), nil
}

// Sign answers a certificate request in PEM.
func (k *Keeper) Sign(request []byte, who identity.Identity) ([]byte, error) {
	k.mu.Lock()
	k.refresh()
	authority := k.authority
	k.mu.Unlock()
	return authority.Sign(request, who)
}

// refresh brings authority and certificate up to date where that can be done, and
// goes on with those that there are where it cannot.
func (k *Keeper) refresh() {
	now := time.Now()
	if now.Sub(k.looked) < lookAgain {
		return
	}
	if err := k.look(now); err != nil {
		k.log.Error("renewing the hub's certificate", "error", err)
	}
}

func (k *Keeper) look(now time.Time) error {
	k.looked = now
	certificate, err := os.ReadFile(filepath.Join(k.dir, api.AuthorityCertificate))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(k.dir, api.AuthorityKey))
	if err != nil {
		return err
	}
	same := k.authority != nil && bytes.Equal(certificate, k.certificate) && bytes.Equal(key, k.key)
	if same && now.Before(identity.RenewAt(k.own)) {
		return nil
	}
	authority, err := identity.ParseAuthority(certificate, key)
	switch {
	case err != nil:
		return err
	case authority.Devspace() != k.devspace:
		return fmt.Errorf("it is of devspace %q", authority.Devspace())
	case now.After(authority.Ends()):
		return fmt.Errorf("it ended at %s", authority.Ends().UTC().Format(time.RFC3339))
	}
	own, err := authority.Issue(identity.Identity{Kind: identity.Hub})
	if err != nil {
		return err
	}
	k.certificate, k.key, k.authority, k.own = certificate, key, authority, own
	k.log.Info("issued the hub's certificate", "devspace", k.devspace, "ends", own.Leaf.NotAfter.UTC())
	return nil
}
