package devspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Restart stops and starts the processes of a service. Pods stay; a service
// without Stinger gets new pods.
func (c *Client) Restart(ctx context.Context, devspace, name string, out io.Writer) error {
	if err := c.checkService(ctx, devspace, name); err != nil {
		return err
	}
	pods, err := c.servicePods(ctx, devspace, name)
	if err != nil {
		return err
	}
	asked := 0
	var faults []error
	for i := range pods {
		for _, s := range stingers(&pods[i]) {
			asked++
			if err := c.restartOne(ctx, s, out); err != nil {
				faults = append(faults, fmt.Errorf("restarting %s/%s: %w", s.pod.Name, s.endpoint.Container, err))
			}
		}
	}
	if asked > 0 {
		return errors.Join(faults...)
	}
	return c.replacePods(ctx, devspace, name, out)
}

// restartOne restarts one process. That waits for a build under way, may have
// one of its own, and gives the process its grace and its clean-up their time:
// how long is enough is the caller's to say.
func (c *Client) restartOne(ctx context.Context, s stinger, out io.Writer) error {
	started := time.Now()
	if _, err := c.send(ctx, s, http.MethodPost, "/reset"); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("waiting too long (--timeout); it goes on by itself, see kubectl fmc status: %w", err)
		}
		return err
	}
	fmt.Fprintf(out, "%s/%s: restarted (%s)\n", s.pod.Name, s.endpoint.Container, seconds(time.Since(started)))
	return nil
}

// checkService reports a service that is not deployed.
func (c *Client) checkService(ctx context.Context, devspace, name string) error {
	found, err := c.Kube.AppsV1().Deployments(devspace).List(ctx, metav1.ListOptions{LabelSelector: managed + "," + api.LabelService + "=" + name})
	if err != nil {
		return fmt.Errorf("looking for service %s: %w", name, err)
	}
	if len(found.Items) == 0 {
		return noServiceError(devspace, name)
	}
	return nil
}

// replacePods does what kubectl rollout restart does.
func (c *Client) replacePods(ctx context.Context, devspace, name string, out io.Writer) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{"kubectl.kubernetes.io/restartedAt": time.Now().Format(time.RFC3339)},
	}}}})
	if err != nil {
		return fmt.Errorf("encoding the restart of %s: %w", name, err)
	}
	started := time.Now()
	_, err = c.Kube.AppsV1().Deployments(devspace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: api.FieldManager})
	if err != nil {
		return fmt.Errorf("restarting %s: %w", name, err)
	}
	if err := c.waitDeployment(ctx, devspace, name, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: pods replaced (%s)\n", name, seconds(time.Since(started)))
	return nil
}
