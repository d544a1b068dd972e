package devspace

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// developer is who the plugin is in one devspace. All of it is got with the
// kubeconfig's rights when it is first needed, and is in memory only:
//
//   - the authority that hub and Stingers are known by, from a ConfigMap;
//   - a token for the hub, from the API server (TokenRequest);
//   - a certificate for Stingers, from the hub, for the token.
type developer struct {
	client   *Client
	devspace string

	authority   kept[*x509.CertPool]
	token       kept[string]
	certificate kept[*tls.Certificate]
	// stale is set where the certificate is of an authority that was replaced.
	stale atomic.Bool
}

// developer returns who the plugin is in a devspace.
func (c *Client) developer(devspace string) *developer {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.developers[devspace]
	if d == nil {
		if c.developers == nil {
			c.developers = map[string]*developer{}
		}
		d = &developer{client: c, devspace: devspace}
		c.developers[devspace] = d
	}
	return d
}

// NoAuthorityError says that a devspace was made before devspaces had
// authorities.
type NoAuthorityError struct{ Devspace string }

func (e *NoAuthorityError) Error() string {
	return fmt.Sprintf("devspace %s has no authority by which its hub could be known (an older version made it): run kubectl fmc devspace create %s, which keeps what is in it", e.Devspace, e.Devspace)
}

// roots returns the devspace's authority.
func (d *developer) roots(ctx context.Context) (*x509.CertPool, error) {
	return d.authority.get(func() (found lasting[*x509.CertPool], err error) {
		m, err := d.client.Kube.CoreV1().ConfigMaps(d.devspace).Get(ctx, api.AuthorityName, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return found, &NoAuthorityError{d.devspace}
		case err != nil:
			return found, explainForbidden(fmt.Errorf("reading the authority of devspace %s: %w", d.devspace, err),
				fmt.Sprintf("that takes the right to get configmaps/%s in namespace %s", api.AuthorityName, d.devspace))
		}
		if found.value, err = identity.Roots([]byte(m.Data[api.IdentityAuthority])); err != nil {
			return found, fmt.Errorf("reading configmap/%s of devspace %s: %w: run kubectl fmc devspace create %s", api.AuthorityName, d.devspace, err, d.devspace)
		}
		found.ends = forEver()
		found.renew = found.ends
		return found, nil
	})
}

// tokenLife is what is asked for; the API server has the last word. It allows no
// less than ten minutes, and a shorter one would be of more use to nobody.
const tokenLife = time.Hour

// bearer returns a token for the hub.
func (d *developer) bearer(ctx context.Context) (string, error) {
	return d.token.get(func() (found lasting[string], err error) {
		life := int64(tokenLife / time.Second)
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{api.Audience(d.devspace)}, ExpirationSeconds: &life,
		}}
		asked := time.Now().Round(0) // by the clock that goes on while a laptop sleeps
		answer, err := d.client.Kube.CoreV1().ServiceAccounts(d.devspace).CreateToken(ctx, api.DeveloperAccount, request, metav1.CreateOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return found, &NoAuthorityError{d.devspace}
		case err != nil:
			return found, explainForbidden(fmt.Errorf("asking for a token of devspace %s: %w", d.devspace, err),
				fmt.Sprintf("that takes the right to create serviceaccounts/token of %s in namespace %s, which the ClusterRoles edit and admin have", api.DeveloperAccount, d.devspace))
		}
		if answer.Spec.ExpirationSeconds != nil {
			life = *answer.Spec.ExpirationSeconds
		}
		// By this machine's clock alone, which may differ from the server's.
		found.value = answer.Status.Token
		found.ends = asked.Add(time.Duration(life) * time.Second)
		found.renew = asked.Add(time.Duration(life) * time.Second * 2 / 3)
		return found, nil
	})
}

// forStingers returns the certificate by which Stingers know the plugin.
func (d *developer) forStingers(ctx context.Context) (*tls.Certificate, error) {
	if d.stale.Swap(false) {
		d.certificate.forget()
	}
	return d.certificate.get(func() (found lasting[*tls.Certificate], err error) {
		hub := d.client.Hub(d.devspace)
		defer hub.Close()
		if found.value, err = hub.certificate(ctx); err != nil {
			return found, fmt.Errorf("asking the hub for a certificate: %w", err)
		}
		found.renew, found.ends = identity.RenewAt(found.value), found.value.Leaf.NotAfter
		return found, nil
	})
}

// forget has everything got anew: the devspace may be another of the same name.
func (d *developer) forget() {
	d.authority.forget()
	d.token.forget()
	d.stale.Store(true) // who asks for the certificate may be who calls this
}

// kept is something that is got once, and anew before it ends.
type kept[T any] struct {
	mu   sync.Mutex
	have lasting[T]
}

// lasting is a value with the time of its end, and the one from which it should
// be replaced. The zero value has ended.
type lasting[T any] struct {
	value       T
	renew, ends time.Time
}

// get returns the value. One that cannot be renewed is used until it ends.
func (k *kept[T]) get(obtain func() (lasting[T], error)) (T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Now().Before(k.have.renew) {
		return k.have.value, nil
	}
	found, err := obtain()
	switch {
	case err == nil:
		k.have = found
	case !time.Now().Before(k.have.ends):
		var none T
		return none, err
	}
	return k.have.value, nil
}

func (k *kept[T]) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.have = lasting[T]{}
}

// forEver is later than any run of the plugin.
func forEver() time.Time { return time.Now().Add(100 * 365 * 24 * time.Hour) }
