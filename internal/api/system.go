package api

// Names of the system's objects that the plugin and the webhook both know.
const (
	// WebhookServiceName is the Service under which the API server calls the
	// webhook.
	WebhookServiceName = "fmc-webhook"
	// WebhookCertificateName is the Secret with the webhook's serving
	// certificate, in SystemNamespace.
	WebhookCertificateName = "fmc-webhook-certificate"
	// WebhookConfigurationName is the MutatingWebhookConfiguration.
	WebhookConfigurationName = "formicarium"
)

// LabelPartOf with the value PartOf marks, beside LabelManagedBy, what one
// installation shares; uninstall finds it by both.
const (
	LabelPartOf = "app.kubernetes.io/part-of"
	PartOf      = "formicarium"
)

// WebhookNames are the host names of the webhook that its certificate is for.
func WebhookNames() []string {
	service := WebhookServiceName + "." + SystemNamespace
	return []string{service + ".svc", service + ".svc.cluster.local", service}
}
