package devspace

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/manifests"
	"github.com/formicarium/formicarium/webhook/inject"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// checkConfiguration looks whether the API server is told of the webhook, and
// returns what it trusts the webhook by.
func (c *Client) checkConfiguration(ctx context.Context) ([]Finding, []byte) {
	const check = "webhook configuration"
	m, err := c.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, manifests.ConfigurationName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return []Finding{bad(check, wayInstall, "there is none: pods that ask are admitted as they are, without netra and Stinger")}, nil
	case err != nil:
		return []Finding{unread(check, "mutatingwebhookconfiguration "+manifests.ConfigurationName, err)}, nil
	}
	want, err := webhookHandlers()
	if err != nil {
		return []Finding{bad(check, "", "%v", err)}, nil
	}
	var findings []Finding
	var bundle []byte
	for _, name := range want {
		i := slices.IndexFunc(m.Webhooks, func(w admissionv1.MutatingWebhook) bool { return w.Name == name })
		switch {
		case i < 0:
			findings = append(findings, bad(check, wayInstall, "%s has no webhook %s", m.Name, name))
		case len(m.Webhooks[i].ClientConfig.CABundle) == 0:
			findings = append(findings, bad(check, wayInstall, "webhook %s has no caBundle: the API server trusts nobody to be it", name))
		case bundle != nil && string(bundle) != string(m.Webhooks[i].ClientConfig.CABundle):
			findings = append(findings, doubtful(check, wayInstall, "the webhooks of %s have different caBundles", m.Name))
		default:
			bundle = m.Webhooks[i].ClientConfig.CABundle
		}
	}
	if len(findings) == 0 {
		findings = append(findings, good(check, "%s tells the API server of the webhook", m.Name))
	}
	return findings, bundle
}

// webhookHandlers returns the names of the webhooks that an install applies.
func webhookHandlers() ([]string, error) {
	objects, err := manifests.System(manifests.SystemSettings{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, object := range objects {
		list, _ := object.Object["webhooks"].([]any)
		for _, item := range list {
			if w, ok := item.(map[string]any); ok {
				name, _ := w["name"].(string)
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// checkServed looks at the certificate that each of the webhook's pods serves.
func (c *Client) checkServed(ctx context.Context, bundle []byte) []Finding {
	const check = "certificate"
	pods, err := c.Kube.CoreV1().Pods(api.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: api.LabelName + "=" + manifests.WebhookName})
	if err != nil {
		return []Finding{unread(check, "the webhook's pods", err)}
	}
	var findings []Finding
	for _, pod := range living(pods.Items) {
		if !podReady(&pod) {
			continue
		}
		chain, err := c.servedBy(ctx, &pod)
		switch {
		case apierrors.IsForbidden(err) || err != nil && strings.Contains(err.Error(), "forbidden"):
			return append(findings, doubtful(check, "", "not looked at: you may not forward ports of the webhook's pods"))
		case err != nil:
			findings = append(findings, bad(check, "kubectl -n "+api.SystemNamespace+" logs "+pod.Name, "asking pod %s for its certificate: %v", pod.Name, err))
		default:
			findings = append(findings, judge(pod.Name, chain, bundle, time.Now()))
		}
	}
	return findings
}

// servedBy returns the certificates that the pod serves.
func (c *Client) servedBy(ctx context.Context, pod *corev1.Pod) ([]*x509.Certificate, error) {
	port := webhookPort(pod)
	if port == 0 {
		return nil, errors.New("it has no port named https")
	}
	ctx, cancel := context.WithTimeout(ctx, c.Answer)
	defer cancel()
	conn, err := c.Connect(ctx, pod.Namespace, pod.Name, port)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// What is served is looked at, trusted or not; judge says which.
	client := tls.Client(conn, &tls.Config{ServerName: api.WebhookNames()[0], InsecureSkipVerify: true})
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return client.ConnectionState().PeerCertificates, nil
}

func webhookPort(pod *corev1.Pod) int {
	for _, container := range pod.Spec.Containers {
		for _, p := range container.Ports {
			if p.Name == "https" {
				return int(p.ContainerPort)
			}
		}
	}
	return 0
}

// judge looks at a served certificate as the API server does.
func judge(pod string, chain []*x509.Certificate, bundle []byte, now time.Time) Finding {
	const check = "certificate"
	way := "the webhook renews it, and its log says what keeps it from that: kubectl -n " + api.SystemNamespace + " logs " + pod
	if len(chain) == 0 {
		return bad(check, way, "pod %s serves none", pod)
	}
	leaf := chain[0]
	left := leaf.NotAfter.Sub(now)
	if left <= 0 {
		return bad(check, way, "that of pod %s expired on %s", pod, leaf.NotAfter.Format(time.DateOnly))
	}
	if bundle == nil {
		return doubtful(check, "", "that of pod %s ends in %s; whether the API server trusts it is not known", pod, days(left))
	}
	options := x509.VerifyOptions{DNSName: api.WebhookNames()[0], Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	options.Roots.AppendCertsFromPEM(bundle)
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(options); err != nil {
		return bad(check, way, "that of pod %s is not trusted by the API server: %v", pod, err)
	}
	if soonest := soonest(bundle, now); soonest < left {
		left = soonest
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); left < min(life/5, 30*24*time.Hour) {
		return doubtful(check, way, "that of pod %s is trusted and ends in %s", pod, days(left))
	}
	return good(check, "that of pod %s is trusted and ends in %s", pod, days(left))
}

// soonest returns how long the longest-lived authority of a bundle has left.
func soonest(bundle []byte, now time.Time) time.Duration {
	var left time.Duration
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if ca, err := x509.ParseCertificate(block.Bytes); err == nil {
			left = max(left, ca.NotAfter.Sub(now))
		}
	}
	return left
}

func days(d time.Duration) string {
	if n := int(d.Hours() / 24); n > 1 {
		return fmt.Sprintf("%d days", n)
	}
	return fmt.Sprintf("%.0f hours", d.Hours())
}

// checkTrial has the API server ask the webhook about a pod for show.
func (c *Client) checkTrial(ctx context.Context, namespace string) Finding {
	const check = "trial"
	if namespace == "" || inject.IsProtected(namespace) {
		namespace = metav1.NamespaceDefault
	}
	ctx, cancel := context.WithTimeout(ctx, proofTime)
	defer cancel()
	err := c.tryWebhook(ctx, namespace)
	switch {
	case err == nil:
		return good(check, "a pod for show in namespace %s was injected", namespace)
	case errors.Is(err, errUnmarked):
		return bad(check, wayInstall, "a pod for show in namespace %s, which asked for netra, was admitted without", namespace)
	case apierrors.IsForbidden(err):
		return doubtful(check, "name a namespace with -n in which you may create pods", "a pod for show in namespace %s was not allowed: %v", namespace, err)
	}
	return bad(check, "see the lines above; kubectl -n "+api.SystemNamespace+" logs deployment/"+manifests.WebhookName, "a pod for show in namespace %s: %v", namespace, err)
}
