package devspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/sidecar"
	"github.com/formicarium/formicarium/manifests"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// JaegerEndpoint is the HTTP collector of the Jaeger that an install brings.
const JaegerEndpoint = "http://" + manifests.JaegerName + "." + api.SystemNamespace + ":14268/api/traces"

// InstallConfig says what to install.
type InstallConfig struct {
	Version, Registry, Tag, PullPolicy string
	// JaegerImage is the trace store's image. It is left out where
	// TracingEndpoint names another place for spans.
	JaegerImage, TracingEndpoint string
	// RedirectBackend is one of RedirectBackends, or empty for the first.
	RedirectBackend string
	// ImagePullSecrets lets the webhook read the pull secrets of every
	// namespace.
	ImagePullSecrets bool
	// CertificateIssuer has cert-manager keep the webhook's certificate; nil
	// leaves it to the webhook itself.
	CertificateIssuer *manifests.Issuer
	// caBundle is known in the course of an install.
	caBundle []byte
}

// RedirectBackends are how netra-init can redirect.
var RedirectBackends = sidecar.Backends

// SystemObjects returns what an install applies.
func SystemObjects(cfg InstallConfig) ([]*unstructured.Unstructured, error) {
	settings := manifests.SystemSettings{
		Version: cfg.Version, Registry: cfg.Registry, Tag: cfg.Tag, PullPolicy: cfg.PullPolicy,
		JaegerImage: cfg.JaegerImage, TracingEndpoint: JaegerEndpoint, RedirectBackend: cfg.RedirectBackend, ImagePullSecrets: cfg.ImagePullSecrets,
		CertificateIssuer: cfg.CertificateIssuer, CABundle: cfg.caBundle,
	}
	if cfg.TracingEndpoint != "" {
		settings.JaegerImage, settings.TracingEndpoint = "", cfg.TracingEndpoint
	}
	return manifests.System(settings)
}

// Install installs Formicarium, or brings an installation to cfg. It returns
// when the webhook has been seen to work.
func (c *Client) Install(ctx context.Context, cfg InstallConfig, out io.Writer) error {
	started := time.Now()
	objects, err := SystemObjects(cfg)
	if err != nil {
		return err
	}
	if err := c.checkServer(ctx, objects[len(objects)-1]); err != nil {
		return explainForbidden(err, "installing needs the rights of a cluster administrator")
	}
	if err := c.removeOther(ctx, cfg, out); err != nil {
		return err
	}
	// The configuration is applied when its webhook is ready, so that pods that
	// ask for it are never held up by an install.
	last := len(objects) - 1
	var deployments []string
	for _, object := range objects[:last] {
		if err := c.apply(ctx, object); err != nil {
			if object.GetKind() == "Certificate" && apierrors.IsNotFound(err) {
				return fmt.Errorf("%w: cert-manager is not in this cluster: install it first, or leave out --cert-manager", err)
			}
			return explainForbidden(err, "installing needs the rights of a cluster administrator")
		}
		fmt.Fprintf(out, "applied %s\n", objectName(object))
		if object.GetKind() == "Deployment" {
			deployments = append(deployments, object.GetName())
		}
	}
	if cfg.TracingEndpoint != "" {
		if err := c.remove(ctx, out, "Deployment/"+manifests.JaegerName, "Service/"+manifests.JaegerName); err != nil {
			return err
		}
	}
	for _, name := range deployments {
		if err := c.waitDeployment(ctx, api.SystemNamespace, name, out); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s is ready\n", name)
	}
	configuration, err := c.applyConfiguration(ctx, cfg)
	if err != nil {
		return explainForbidden(err, "installing needs the rights of a cluster administrator")
	}
	fmt.Fprintf(out, "applied %s\n", objectName(configuration))
	if err := c.proveWebhook(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "the webhook answers: installed in %s\n", seconds(time.Since(started)))
	return nil
}

// remove removes objects that an earlier install brought, each named KIND/NAME.
func (c *Client) remove(ctx context.Context, out io.Writer, names ...string) error {
	for _, name := range names {
		kind, object, _ := strings.Cut(name, "/")
		err := c.Dynamic.Resource(kinds[kind].resource).Namespace(api.SystemNamespace).Delete(ctx, object, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return explainForbidden(fmt.Errorf("removing %s: %w", name, err), "installing needs the rights of a cluster administrator")
		}
		if err == nil {
			fmt.Fprintf(out, "removed %s\n", strings.ToLower(name))
		}
	}
	return nil
}

// proofTime bounds how long the API server may take to learn of the webhook
// and of its Service's endpoints; it takes a second or two.
const proofTime = 30 * time.Second

// proveWebhook creates a pod that asks for injection, but only for show (a
// server-side dry run), and looks whether the webhook put its mark on it.
func (c *Client) proveWebhook(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, proofTime)
	defer cancel()
	var last error
	for {
		err := c.tryWebhook(ctx, metav1.NamespaceDefault)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("trying the webhook with a pod for show: %w", errors.Join(last, ctx.Err()))
		case <-time.After(c.Poll):
		}
	}
}

// errUnmarked says that a pod which asked came back without a status.
var errUnmarked = errors.New("it did not mark the pod")

// tryWebhook is one try in a namespace.
func (c *Client) tryWebhook(ctx context.Context, namespace string) error {
	created, err := c.Kube.CoreV1().Pods(namespace).Create(ctx, proofPod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return err
	}
	text := created.Annotations[api.AnnotationStatus]
	if text == "" {
		return errUnmarked
	}
	var status api.InjectionStatus
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return fmt.Errorf("reading what the webhook wrote on a pod: %w", err)
	}
	return nil
}

// proofPod passes every pod security level and most quotas.
func proofPod() *corev1.Pod {
	no, yes := false, true
	user := int64(65532)
	resources := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("1Mi")}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "fmc-proof-",
			Annotations:  map[string]string{api.AnnotationInject: api.InjectNetra},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &user,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "proof", Image: "proof", Command: []string{"/proof"},
				Resources: corev1.ResourceRequirements{Requests: resources, Limits: resources},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no,
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// Installation is what an installation says of itself.
type Installation struct {
	Version, Registry, Tag, PullPolicy, TracingEndpoint string
}

// ErrNotInstalled says so.
var ErrNotInstalled = errors.New("Formicarium is not installed in this cluster: run kubectl fmc install --registry REGISTRY") //nolint:staticcheck // ST1005: a name is capitalised

// Installation reads what an installation says of itself.
func (c *Client) Installation(ctx context.Context) (Installation, error) {
	m, err := c.Kube.CoreV1().ConfigMaps(api.SystemNamespace).Get(ctx, manifests.InstallationName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		// An installation lets everybody read it; who may not has none.
		return Installation{}, ErrNotInstalled
	case err != nil:
		return Installation{}, fmt.Errorf("reading the installation: %w", err)
	}
	return Installation{
		Version: m.Data["version"], Registry: m.Data["registry"], Tag: m.Data["tag"],
		PullPolicy: m.Data["pullPolicy"], TracingEndpoint: m.Data["tracingEndpoint"],
	}, nil
}

// explainForbidden adds the way out to an error about missing rights. Others
// come with the same status: a namespace that is being deleted, or a quota.
func explainForbidden(err error, way string) error {
	other := apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || err != nil && strings.Contains(err.Error(), "exceeded quota")
	if err != nil && apierrors.IsForbidden(err) && !other {
		return fmt.Errorf("%w: %s", err, way)
	}
	return err
}

// seconds prints a duration for people.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
