package devspace

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// system selects what an install made.
const system = managed + ",app.kubernetes.io/part-of=formicarium"

// ErrDevspacesExist lists the devspaces that an uninstall would take along.
type ErrDevspacesExist struct{ Names []string }

func (e *ErrDevspacesExist) Error() string {
	return fmt.Sprintf("devspaces exist: %s: delete them first, or give --all to delete them too", strings.Join(e.Names, ", "))
}

// Uninstall removes all that Install and CreateDevspace made. Where devspaces
// exist it does so only with all set.
func (c *Client) Uninstall(ctx context.Context, all bool, out io.Writer) error {
	devspaces, err := c.ListDevspaces(ctx)
	if err != nil {
		return err
	}
	if len(devspaces) > 0 && !all {
		e := &ErrDevspacesExist{}
		for _, d := range devspaces {
			e.Names = append(e.Names, d.Name)
		}
		return e
	}
	// First of all, so that no pod anywhere waits for a webhook that is gone.
	if err := c.deleteAll(ctx, "MutatingWebhookConfiguration", out); err != nil {
		return err
	}
	for _, d := range devspaces {
		if err := c.DeleteDevspace(ctx, d.Name, out); err != nil {
			return err
		}
	}
	if err := c.deleteAll(ctx, "Namespace", out); err != nil {
		return err
	}
	if err := c.waitGone(ctx, api.SystemNamespace, out); err != nil {
		return err
	}
	// Those of devspaces that kubectl deleted.
	if err := c.unbind(ctx, api.LabelDevspace, out); err != nil {
		return err
	}
	for _, kind := range []string{"ClusterRoleBinding", "ClusterRole", "PriorityClass"} {
		if err := c.deleteAll(ctx, kind, out); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "uninstalled")
	return nil
}

// deleteAll deletes an installation's objects of a kind that stands outside of
// namespaces.
func (c *Client) deleteAll(ctx context.Context, kind string, out io.Writer) error {
	r := c.Dynamic.Resource(kinds[kind].resource)
	found, err := r.List(ctx, metav1.ListOptions{LabelSelector: system})
	if err != nil {
		return explainForbidden(fmt.Errorf("listing %s: %w", kinds[kind].resource.Resource, err), "uninstalling needs the rights of a cluster administrator")
	}
	for _, object := range found.Items {
		err := r.Delete(ctx, object.GetName(), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting %s/%s: %w", strings.ToLower(kind), object.GetName(), err)
		}
		fmt.Fprintf(out, "deleted %s/%s\n", strings.ToLower(kind), object.GetName())
	}
	return nil
}

// waitGone waits until a namespace that is being deleted is gone.
func (c *Client) waitGone(ctx context.Context, namespace string, out io.Writer) error {
	last := ""
	for {
		n, err := c.Kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("looking at namespace %s: %w", namespace, err)
		}
		if err == nil {
			if text := remaining(n); text != last && text != "" {
				last = text
				fmt.Fprintf(out, "namespace %s: %s\n", namespace, text)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for namespace %s to be gone: %w: it goes on by itself; the same command again waits for it", namespace, ctx.Err())
		case <-time.After(c.Poll):
		}
	}
}

// remaining tells what keeps a namespace from being gone.
func remaining(n *corev1.Namespace) string {
	var texts []string
	for _, condition := range n.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			texts = append(texts, condition.Message)
		}
	}
	return strings.Join(texts, "; ")
}
