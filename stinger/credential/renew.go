package credential

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
)

// maxAnswer bounds a hub's answer: a certificate has a kilobyte.
const maxAnswer = 64 << 10

// Run gets a certificate, keeps it fresh, and returns when ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	said := ""
	retry := retryFirst
	for {
		wait := k.opts.Check
		if k.isDue() {
			err := k.renew(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				said, retry = "", retryFirst
			default:
				if said != err.Error() { // once for each reason, not for each try
					said = err.Error()
					k.opts.Log.Warn("no certificate yet: only probes are answered, or clients with the present one", "reason", said)
				}
				longest := retryMax
				if k.present() != nil {
					longest = retryLater
				}
				wait, retry = min(retry, longest), min(2*retry, longest)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// isDue reports whether a certificate is to be got. The time is asked for anew
// each time, since a node may sleep.
func (k *Keeper) isDue() bool {
	c := k.present()
	if c == nil || !k.opts.Now().Before(identity.RenewAt(c)) {
		return true
	}
	// Where there is no authority now, another one would not be trusted either.
	roots, err := k.trust.roots()
	return err == nil && verify(c.Leaf, roots) != nil
}

// renew gets a certificate for a new key.
func (k *Keeper) renew(ctx context.Context) error {
	roots, err := k.trust.roots()
	if err != nil {
		return err
	}
	key, request, err := identity.NewRequest()
	if err != nil {
		return err
	}
	answer, err := k.ask(ctx, request)
	if err != nil {
		return fmt.Errorf("getting a certificate from the hub: %w", err)
	}
	c, err := identity.Pair(answer.Certificate, key)
	if err != nil {
		return fmt.Errorf("reading the hub's answer: %w", err)
	}
	if err := verify(c.Leaf, roots); err != nil {
		return fmt.Errorf("checking the certificate that the hub gave: %w", err)
	}
	k.tell(c)
	k.replace(c)
	return nil
}

// tell logs that there is a certificate. It is of use also where it is not valid
// by this node's clock: it is others who judge it.
func (k *Keeper) tell(c *tls.Certificate) {
	now := k.opts.Now()
	if now.Before(c.Leaf.NotBefore) || now.After(c.Leaf.NotAfter) {
		k.opts.Log.Warn("by this node's clock the new certificate is not valid: is the clock right?",
			"now", now.UTC(), "from", c.Leaf.NotBefore, "until", c.Leaf.NotAfter)
		return
	}
	k.opts.Log.Info("got a certificate", "identity", c.Leaf.URIs[0].String(), "until", c.Leaf.NotAfter)
}

// verify checks that a certificate is of the devspace's authority and for a pod,
// whatever the time is.
func verify(leaf *x509.Certificate, roots *x509.CertPool) error {
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return err
	}
	if len(leaf.URIs) != 1 {
		return fmt.Errorf("it names %d identities, want one", len(leaf.URIs))
	}
	who, err := identity.Parse(leaf.URIs[0])
	if err != nil {
		return err
	}
	if who.Kind != identity.Pod {
		return fmt.Errorf("it is for %s, want one for a pod: the token is not a pod's", who)
	}
	return nil
}

// ask sends a request to the hub.
func (k *Keeper) ask(ctx context.Context, request []byte) (api.Certificate, error) {
	var answer api.Certificate
	body, err := json.Marshal(api.CertificateRequest{Request: string(request)})
	if err != nil {
		return answer, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.opts.Hub+api.PathCertificates, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := k.client.Do(r)
	if err != nil {
		if wrapped, ok := err.(*url.Error); ok { //nolint:errorlint // that is what Do returns
			err = wrapped.Err
		}
		return answer, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer, fmt.Errorf("reading its answer: %w", err)
	}
	if response.StatusCode != http.StatusCreated {
		return answer, fmt.Errorf("HTTP %s: %s", response.Status, refusal(text))
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, fmt.Errorf("parsing its answer: %w", err)
	}
	return answer, nil
}

// refusal returns what a hub says with a status that is not a success.
func refusal(text []byte) string {
	var said api.Error
	if json.Unmarshal(text, &said) == nil && said.Error != "" {
		return said.Error
	}
	return string(bytes.TrimSpace(text[:min(len(text), 1<<10)]))
}
