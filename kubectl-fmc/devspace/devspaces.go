package devspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/manifests"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Devspace is one devspace of a cluster.
type Devspace struct {
	Name    string    `json:"name"`
	Owner   string    `json:"owner,omitempty"`
	Created time.Time `json:"created"`
	// Phase is Active or Terminating.
	Phase   string `json:"phase"`
	Current bool   `json:"current"`
}

// CreateConfig says what devspace to make.
type CreateConfig struct {
	Name string
	// Image is the hub's; empty means the installation's.
	Image, PullPolicy string
	// CPU, Memory and Pods are its quota, HubStorage and HubMemory the hub's
	// bounds.
	CPU, Memory           string
	Pods                  int
	HubStorage, HubMemory string
}

// NoDevspaceError says that a devspace does not exist, or that a namespace is
// none.
type NoDevspaceError struct {
	Name string
	// Foreign is set where a namespace of that name exists.
	Foreign bool
}

func (e *NoDevspaceError) Error() string {
	if e.Foreign {
		return fmt.Sprintf("namespace %s is not a devspace: see kubectl fmc devspace list", e.Name)
	}
	return fmt.Sprintf("no devspace %s: create it with kubectl fmc devspace create %s, or see kubectl fmc devspace list", e.Name, e.Name)
}

// ListDevspaces returns the cluster's devspaces by name.
func (c *Client) ListDevspaces(ctx context.Context) ([]Devspace, error) {
	found, err := c.Kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: api.LabelDevspace})
	if err != nil {
		return nil, explainForbidden(fmt.Errorf("listing devspaces: %w", err), "name yours with -n")
	}
	devspaces := make([]Devspace, 0, len(found.Items))
	for i := range found.Items {
		devspaces = append(devspaces, describeDevspace(&found.Items[i]))
	}
	slices.SortFunc(devspaces, func(a, b Devspace) int { return strings.Compare(a.Name, b.Name) })
	return devspaces, nil
}

func describeDevspace(n *corev1.Namespace) Devspace {
	d := Devspace{Name: n.Name, Owner: n.Annotations[api.Domain+"/owner"], Created: n.CreationTimestamp.UTC(), Phase: "Active"}
	if n.DeletionTimestamp != nil {
		d.Phase = "Terminating"
	}
	return d
}

// GetDevspace returns the devspace called name, or a NoDevspaceError.
func (c *Client) GetDevspace(ctx context.Context, name string) (Devspace, error) {
	n, err := c.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return Devspace{}, &NoDevspaceError{Name: name}
	case err != nil:
		return Devspace{}, fmt.Errorf("looking for devspace %s: %w", name, err)
	case n.Labels[api.LabelDevspace] == "":
		return Devspace{}, &NoDevspaceError{Name: name, Foreign: true}
	}
	return describeDevspace(n), nil
}

// CreateDevspace makes a devspace, or brings an existing one to cfg, and
// returns when its hub is ready.
func (c *Client) CreateDevspace(ctx context.Context, cfg CreateConfig, out io.Writer) error {
	started := time.Now()
	if err := api.CheckName("devspace", cfg.Name); err != nil {
		return err
	}
	installation, err := c.Installation(ctx)
	if err != nil {
		return err
	}
	if err := c.checkReviewer(ctx); err != nil {
		return err
	}
	if err := c.checkFree(ctx, cfg.Name); err != nil {
		return err
	}
	settings := manifests.DevspaceSettings{
		Name: cfg.Name, Owner: c.whoAmI(ctx), HubImage: cfg.Image, PullPolicy: cfg.PullPolicy,
		HubStorage: cfg.HubStorage, HubMemory: cfg.HubMemory, CPU: cfg.CPU, Memory: cfg.Memory, Pods: cfg.Pods,
	}
	if settings.HubImage == "" {
		settings.HubImage = fmt.Sprintf("%s/%s:%s", installation.Registry, api.HubName, installation.Tag)
	}
	if settings.PullPolicy == "" {
		settings.PullPolicy = installation.PullPolicy
	}
	objects, err := manifests.Devspace(settings)
	if err != nil {
		return err
	}
	if err := c.applyDevspace(ctx, cfg.Name, objects); err != nil {
		return explainForbidden(err, "making a devspace needs rights on namespaces and what is in them, and to bind the ClusterRole "+manifests.TokenReviewerName)
	}
	if err := c.waitDeployment(ctx, cfg.Name, api.HubName, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "devspace %s is ready (%s)\n", cfg.Name, seconds(time.Since(started)))
	return nil
}

// applyDevspace applies a devspace's objects, the namespace first, and then the
// authority that the hub needs to start.
func (c *Client) applyDevspace(ctx context.Context, name string, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		if object.GetKind() == "Deployment" {
			authority, err := c.keepAuthority(ctx, name)
			if err != nil {
				return err
			}
			if err := noteAuthority(object, authority); err != nil {
				return err
			}
		}
		if err := c.apply(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// checkReviewer refuses an installation that is too old for hubs to have tokens
// reviewed. Who may not look is let on: the binding will tell.
func (c *Client) checkReviewer(ctx context.Context) error {
	if _, err := c.Kube.RbacV1().ClusterRoles().Get(ctx, manifests.TokenReviewerName, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return fmt.Errorf("the installation in this cluster is older than this plugin, and lacks the ClusterRole %s that hubs need: have it updated with kubectl fmc install --registry REGISTRY", manifests.TokenReviewerName)
	}
	return nil
}

// checkFree refuses a namespace that somebody else made, or that is being
// deleted.
func (c *Client) checkFree(ctx context.Context, name string) error {
	existing, err := c.GetDevspace(ctx, name)
	var none *NoDevspaceError
	switch {
	case errors.As(err, &none) && none.Foreign && theClusters(name):
		return fmt.Errorf("namespace %s is the cluster's own: choose another name", name)
	case errors.As(err, &none) && none.Foreign:
		return fmt.Errorf("namespace %s exists and is not a devspace: choose another name, or make it one with\n  kubectl label namespace %s %s=%s %s=%s",
			name, name, api.LabelManagedBy, api.FieldManager, api.LabelDevspace, name)
	case errors.As(err, &none):
		return nil
	case err != nil:
		return err
	case existing.Phase == "Terminating":
		return fmt.Errorf("devspace %s is being deleted: wait for it with kubectl fmc devspace delete %s --yes", name, name)
	}
	return nil
}

// theClusters reports a namespace that nobody should make a devspace of.
func theClusters(name string) bool {
	return name == metav1.NamespaceDefault || name == api.SystemNamespace || strings.HasPrefix(name, "kube-")
}

// whoAmI returns how the cluster calls the user, or "".
func (c *Client) whoAmI(ctx context.Context) string {
	review, err := c.Kube.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return review.Status.UserInfo.Username
}

// DeleteDevspace deletes a devspace, with its right to have tokens reviewed, and
// returns when it is gone. One that is being deleted already is waited for.
func (c *Client) DeleteDevspace(ctx context.Context, name string, out io.Writer) error {
	started := time.Now()
	if _, err := c.GetDevspace(ctx, name); err != nil {
		return err
	}
	// First, since the namespace is what a second delete finds the devspace by.
	unbound := c.unbind(ctx, api.LabelDevspace+"="+name, out)
	if unbound != nil && !apierrors.IsForbidden(unbound) {
		return unbound
	}
	err := c.Kube.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	// Conflict is the answer where it is being deleted already.
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting devspace %s: %w", name, err)
	}
	if err := c.waitGone(ctx, name, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "devspace %s is gone (%s)\n", name, seconds(time.Since(started)))
	return explainForbidden(unbound, fmt.Sprintf("the devspace is gone, but for what a cluster administrator has to remove: kubectl delete clusterrolebinding -l %s=%s", api.LabelDevspace, name))
}

// unbind deletes the bindings of ClusterRoles that devspaces have and a selector
// selects.
func (c *Client) unbind(ctx context.Context, selector string, out io.Writer) error {
	all := c.Kube.RbacV1().ClusterRoleBindings()
	found, err := all.List(ctx, metav1.ListOptions{LabelSelector: managed + "," + selector})
	if err != nil {
		return fmt.Errorf("listing clusterrolebindings: %w", err)
	}
	for _, binding := range found.Items {
		if err := all.Delete(ctx, binding.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting clusterrolebinding/%s: %w", binding.Name, err)
		}
		fmt.Fprintf(out, "deleted clusterrolebinding/%s\n", binding.Name)
	}
	return nil
}
