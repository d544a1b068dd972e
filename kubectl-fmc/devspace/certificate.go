package devspace

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/manifests"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The webhook makes its serving certificate itself, and renews it, or
// cert-manager does. An install adds only what neither could do in time: that
// the API server trusts the certificate from the first moment of the
// configuration on. What it finds there it leaves; it may be of a renewal that
// goes on.

// configurationTries bounds how often the configuration is read and applied
// anew: the webhook writes it twice in a renewal.
const configurationTries = 10

// applyConfiguration applies the webhook configuration, unless it was changed
// since it was read; then it reads again.
func (c *Client) applyConfiguration(ctx context.Context, cfg InstallConfig) (*unstructured.Unstructured, error) {
	var last error
	for range configurationTries {
		existing, err := c.configuration(ctx)
		if err != nil {
			return nil, err
		}
		if cfg.caBundle, err = c.caBundle(ctx, cfg, existing); err != nil {
			return nil, err
		}
		objects, err := SystemObjects(cfg)
		if err != nil {
			return nil, err
		}
		object := objects[len(objects)-1]
		if existing != nil {
			object.SetResourceVersion(existing.ResourceVersion)
		}
		if last = c.apply(ctx, object); !apierrors.IsConflict(last) {
			return object, last
		}
	}
	return nil, last
}

// configuration returns the webhook configuration, nil where there is none.
func (c *Client) configuration(ctx context.Context) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	existing, err := c.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, manifests.ConfigurationName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the webhook configuration: %w", err)
	}
	return existing, nil
}

// caBundle returns what the API server is to trust: what it does already, and
// the authority of the certificate that the webhook serves.
func (c *Client) caBundle(ctx context.Context, cfg InstallConfig, existing *admissionregistrationv1.MutatingWebhookConfiguration) ([]byte, error) {
	var bundle []byte
	if existing != nil && len(existing.Webhooks) > 0 {
		bundle = existing.Webhooks[0].ClientConfig.CABundle
	}
	if cfg.CertificateIssuer != nil {
		return bundle, nil // cert-manager adds the rest
	}
	secret, err := c.Kube.CoreV1().Secrets(api.SystemNamespace).Get(ctx, manifests.CertificateName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the webhook's certificate, which it makes when it starts: %w", err)
	}
	authority := bytes.TrimSpace(secret.Data["ca.crt"])
	if bytes.Contains(bundle, authority) {
		return bundle, nil
	}
	return bytes.TrimLeft(fmt.Appendf(nil, "%s\n%s\n", bytes.TrimSpace(bundle), authority), "\n"), nil
}

// removeOther removes what keeps the certificate where it is kept the other way.
func (c *Client) removeOther(ctx context.Context, cfg InstallConfig, out io.Writer) error {
	if cfg.CertificateIssuer != nil {
		return c.remove(ctx, out, "RoleBinding/"+manifests.WebhookName, "Role/"+manifests.WebhookName)
	}
	return c.remove(ctx, out, "Certificate/"+manifests.CertificateName)
}
