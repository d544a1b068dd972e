package devspace

import (
	"context"
	"errors"
	"fmt"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/manifests"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wayInstall is the way out of all that an install puts right.
const wayInstall = "kubectl fmc install --registry REGISTRY puts it right"

// CheckConfig says what to check.
type CheckConfig struct {
	// Version is the plugin's.
	Version string
	// Namespace is the one to look into; empty means all, where the caller may
	// see all, else Fallback.
	Namespace, Fallback string
}

// CheckReport is what a check found.
type CheckReport struct {
	Findings []Finding `json:"findings"`
	// Missing are the pods that asked and have nothing.
	Missing []MissingPod `json:"missing,omitempty"`
	// WebhookWorks says that a pod for show was injected.
	WebhookWorks bool `json:"webhookWorks"`
}

// Check looks at an installation and at the pods it is for, as far as the
// caller's rights go.
func (c *Client) Check(ctx context.Context, cfg CheckConfig) (CheckReport, error) {
	var report CheckReport
	note := func(findings ...Finding) { report.Findings = append(report.Findings, findings...) }
	installation, err := c.Installation(ctx)
	switch {
	case errors.Is(err, ErrNotInstalled):
		note(bad("installation", "kubectl fmc install --registry REGISTRY", "Formicarium is not installed in this cluster"))
	case err != nil:
		return report, err // the cluster does not answer: nothing else will
	default:
		note(good("installation", "version %s is installed, with images of %s, tag %s", installation.Version, installation.Registry, installation.Tag))
		note(checkVersion(cfg.Version, installation))
	}
	findings, bundle := c.checkConfiguration(ctx)
	note(findings...)
	note(c.checkDeployment(ctx, "webhook", api.SystemNamespace, manifests.WebhookName))
	note(c.checkImage(ctx, installation)...)
	note(c.checkServed(ctx, bundle)...)
	trial := c.checkTrial(ctx, cfg.Namespace)
	report.WebhookWorks = trial.Level == LevelOK
	note(trial)
	note(c.checkTracing(ctx, installation)...)
	scope, findings, err := c.scope(ctx, cfg)
	if err != nil {
		return report, err
	}
	note(findings...)
	note(c.checkHubs(ctx, scope)...)
	findings, report.Missing, err = c.checkPods(ctx, scope)
	note(findings...)
	return report, err
}

func checkVersion(client string, i Installation) Finding {
	if client != i.Version {
		return doubtful("version", "update the older one of the two: kubectl krew upgrade fmc, or kubectl fmc install",
			"the plugin is version %s, and %s is installed", client, i.Version)
	}
	return good("version", "plugin and installation are both version %s", client)
}

// checkImage compares what runs as the webhook with what was installed.
func (c *Client) checkImage(ctx context.Context, i Installation) []Finding {
	d, err := c.Kube.AppsV1().Deployments(api.SystemNamespace).Get(ctx, manifests.WebhookName, metav1.GetOptions{})
	if err != nil || i.Tag == "" || len(d.Spec.Template.Spec.Containers) == 0 {
		return nil // said already, by others
	}
	want := i.Registry + "/webhook:" + i.Tag
	if image := d.Spec.Template.Spec.Containers[0].Image; image != want {
		return []Finding{doubtful("version", wayInstall, "the webhook runs image %s, but %s was installed", image, want)}
	}
	return nil
}

// checkDeployment looks whether all replicas are ready.
func (c *Client) checkDeployment(ctx context.Context, check, namespace, name string) Finding {
	d, err := c.Kube.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	way := fmt.Sprintf("kubectl -n %s describe deployment %s; kubectl -n %s get events", namespace, name, namespace)
	switch {
	case apierrors.IsNotFound(err):
		return bad(check, wayInstall, "there is no deployment %s in namespace %s", name, namespace)
	case err != nil:
		return unread(check, fmt.Sprintf("deployment %s in namespace %s", name, namespace), err)
	}
	want := replicas(d)
	switch ready := d.Status.ReadyReplicas; {
	case ready == 0:
		return bad(check, way, "none of %d pods of %s/%s is ready", want, namespace, name)
	case ready < want:
		return doubtful(check, way, "%d of %d pods of %s/%s are ready", ready, want, namespace, name)
	default:
		return good(check, "%d of %d pods of %s/%s are ready", ready, want, namespace, name)
	}
}

func (c *Client) checkTracing(ctx context.Context, i Installation) []Finding {
	switch i.TracingEndpoint {
	case "":
		return nil
	case JaegerEndpoint:
		return []Finding{c.checkDeployment(ctx, "tracing", api.SystemNamespace, manifests.JaegerName)}
	}
	return []Finding{good("tracing", "spans go to %s, which is not looked at", i.TracingEndpoint)}
}

// scope are the namespaces to look into, with their labels.
type scope struct {
	namespaces map[string]map[string]string
	// all is set where the pods of all namespaces may be listed at once.
	all bool
}

func (c *Client) scope(ctx context.Context, cfg CheckConfig) (scope, []Finding, error) {
	if cfg.Namespace == "" {
		list, err := c.Kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err == nil {
			s := scope{namespaces: map[string]map[string]string{}, all: true}
			for _, n := range list.Items {
				s.namespaces[n.Name] = n.Labels
			}
			return s, nil, nil
		}
		if !apierrors.IsForbidden(err) {
			return scope{}, nil, fmt.Errorf("listing namespaces: %w", err)
		}
		cfg.Namespace = cfg.Fallback
		found := doubtful("namespaces", "name others with -n", "only namespace %s is looked into: you may not list namespaces", cfg.Namespace)
		s, more, err := c.scope(ctx, cfg)
		return s, append([]Finding{found}, more...), err
	}
	labels, finding, err := c.namespaceLabels(ctx, cfg.Namespace)
	return scope{namespaces: map[string]map[string]string{cfg.Namespace: labels}}, finding, err
}

// namespaceLabels returns a namespace's labels, or says that they may not be
// read.
func (c *Client) namespaceLabels(ctx context.Context, name string) (map[string]string, []Finding, error) {
	n, err := c.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return nil, []Finding{doubtful("namespaces", "", "the labels of namespace %s are not known: you may not read it, so an opt-in of the whole namespace and its pod security level are not seen", name)}, nil
	case err != nil:
		return nil, nil, fmt.Errorf("reading namespace %s: %w", name, err)
	}
	return n.Labels, nil, nil
}

// checkHubs looks at the hub of each devspace, and whether it is known.
func (c *Client) checkHubs(ctx context.Context, s scope) []Finding {
	var findings []Finding
	for _, name := range sorted(s.namespaces) {
		if s.namespaces[name][api.LabelDevspace] != "" {
			f := c.checkDeployment(ctx, "hub", name, api.HubName)
			if f.Level == LevelFail && f.WayOut == wayInstall {
				f.WayOut = "kubectl fmc devspace create " + name + " makes it anew"
			}
			findings = append(append(findings, f), c.checkIdentity(ctx, name)...)
		}
	}
	return findings
}

// eachPod calls f for each pod in scope that has not ended.
func (c *Client) eachPod(ctx context.Context, s scope, f func(*corev1.Pod)) ([]Finding, error) {
	names := sorted(s.namespaces)
	if s.all {
		names = []string{metav1.NamespaceAll}
	}
	for _, name := range names {
		options := metav1.ListOptions{Limit: 500}
		for {
			list, err := c.Kube.CoreV1().Pods(name).List(ctx, options)
			switch {
			case apierrors.IsForbidden(err) && s.all && len(names) == 1:
				// All namespaces may be seen, but not what is in them.
				return c.eachPod(ctx, scope{namespaces: s.namespaces}, f)
			case apierrors.IsForbidden(err):
				return []Finding{unread("pods", "the pods of namespace "+name, err)}, nil
			case err != nil:
				return nil, fmt.Errorf("listing pods: %w", err)
			}
			pods := living(list.Items)
			for i := range pods {
				f(&pods[i])
			}
			if options.Continue = list.Continue; options.Continue == "" {
				break
			}
		}
	}
	return nil, nil
}
