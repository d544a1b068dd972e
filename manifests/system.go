package manifests

import (
	"fmt"

	"github.com/formicarium/formicarium/internal/api"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Names of the system's objects.
const (
	// WebhookName names the webhook's Deployment, ServiceAccount, ClusterRole
	// and PodDisruptionBudget.
	WebhookName = "webhook"
	// WebhookServiceName names its Service.
	WebhookServiceName = api.WebhookServiceName
	// CertificateName names the Secret with the webhook's serving certificate,
	// and cert-manager's Certificate.
	CertificateName = api.WebhookCertificateName
	// ConfigurationName names the MutatingWebhookConfiguration and the other
	// objects that belong to no namespace.
	ConfigurationName = api.WebhookConfigurationName
	// InstallationName names the ConfigMap in which an installation describes
	// itself: version, registry, tag, pull policy. Every user of the cluster
	// may read it.
	InstallationName = "formicarium"
	// JaegerName names the trace store's Deployment and Service.
	JaegerName = "jaeger"

	webhookPort = 8443
)

// SystemSettings are what differs between installations.
type SystemSettings struct {
	// Version is the plugin's own.
	Version string
	// Registry and Tag make the image names: Registry/NAME:Tag.
	Registry, Tag string
	// PullPolicy is the imagePullPolicy of every container.
	PullPolicy string
	// RedirectBackend is how netra-init redirects where a pod does not say it:
	// auto, nftables or iptables; empty is auto.
	RedirectBackend string
	// JaegerImage is the all-in-one trace store; empty leaves it out.
	JaegerImage string
	// TracingEndpoint is where netra sends spans (Jaeger's HTTP collector).
	TracingEndpoint string
	// ImagePullSecrets lets the webhook read the pull secrets of every
	// namespace.
	ImagePullSecrets bool
	// CertificateIssuer has cert-manager make the webhook's serving
	// certificate; nil leaves it to the webhook itself.
	CertificateIssuer *Issuer
	// CABundle is what the API server is to trust, in PEM. Empty leaves that to
	// who makes the certificate.
	CABundle []byte
}

// Issuer is one of cert-manager's: of Kind Issuer, in the system's namespace, or
// ClusterIssuer.
type Issuer struct{ Kind, Name string }

// Image returns the name of one of Formicarium's own images.
func (s SystemSettings) Image(name string) string {
	return fmt.Sprintf("%s/%s:%s", s.Registry, name, s.Tag)
}

// System returns the objects of an installation in the order in which they are
// to be applied. The webhook configuration is last, so that the API server is
// told of the webhook only when there is one.
func System(s SystemSettings) ([]*unstructured.Unstructured, error) {
	return render("system", s)
}
