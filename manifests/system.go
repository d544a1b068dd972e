package manifests

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Names of the system's objects.
const (
	// WebhookName names the webhook's Deployment, ServiceAccount, ClusterRole
	// and PodDisruptionBudget.
	WebhookName = "webhook"
	// WebhookServiceName names its Service.
	WebhookServiceName = "fmc-webhook"
	// CertificateName names the Secret with the webhook's serving certificate.
	CertificateName = "fmc-webhook-certificate"
	// ConfigurationName names the MutatingWebhookConfiguration and the other
	// objects that belong to no namespace.
	ConfigurationName = "formicarium"
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
	// CA, Certificate and Key are PEM: who signed the webhook's serving
	// certificate, that certificate, and its private key.
	CA, Certificate, Key []byte
	// CertificateHash changes with the certificate, so that the webhook's
	// pods are replaced when it does.
	CertificateHash string
}

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
