package devspace

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const kindClaim = "PersistentVolumeClaim"

// settleClaims fits volume claims to those that exist, of which little can be
// changed: one that is bigger than asked for stays as it is, for several
// services may ask for one with different sizes.
func (c *Client) settleClaims(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		if object.GetKind() != kindClaim {
			continue
		}
		if err := c.settleClaim(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) settleClaim(ctx context.Context, object *unstructured.Unstructured) error {
	var asked corev1.PersistentVolumeClaim
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &asked); err != nil {
		return fmt.Errorf("reading %s: %w", objectName(object), err)
	}
	there, err := c.Kube.CoreV1().PersistentVolumeClaims(asked.Namespace).Get(ctx, asked.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("looking for %s: %w", objectName(object), err)
	case there.DeletionTimestamp != nil:
		return fmt.Errorf("%s is being deleted, and will be when no pod mounts it: deploy again then", objectName(object))
	}
	has := orNothing(there.Spec.StorageClassName)
	if wants := orNothing(asked.Spec.StorageClassName); wants != "" && wants != has {
		return fmt.Errorf("%s has the storage class %q, which cannot be changed to %q: delete the cache with kubectl -n %s delete pvc %s, or leave cache.storageClass out",
			objectName(object), has, wants, asked.Namespace, asked.Name)
	}
	size := there.Spec.Resources.Requests[corev1.ResourceStorage]
	if wants := asked.Spec.Resources.Requests[corev1.ResourceStorage]; size.Cmp(wants) < 0 {
		return nil // whether it may grow is for its class to say
	}
	return unstructured.SetNestedField(object.Object, size.String(), "spec", "resources", "requests", "storage")
}

func orNothing(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// claimProblems tells which volumes a pod waits for, and why they are not there.
func (c *Client) claimProblems(ctx context.Context, pod *corev1.Pod) []problem {
	var problems []problem
	for _, volume := range pod.Spec.Volumes {
		if volume.PersistentVolumeClaim == nil || pod.Spec.NodeName != "" {
			continue
		}
		name := volume.PersistentVolumeClaim.ClaimName
		claim, err := c.Kube.CoreV1().PersistentVolumeClaims(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			continue // what the scheduler says of the pod tells as much
		}
		switch claim.Status.Phase {
		case corev1.ClaimLost:
			problems = append(problems, problem{
				text:     fmt.Sprintf("volume claim %s has lost its volume: delete it with kubectl -n %s delete pvc %s", name, pod.Namespace, name),
				patience: shortPatience,
			})
		case corev1.ClaimPending, "":
			problems = append(problems, c.pendingClaim(ctx, claim))
		}
	}
	return problems
}

// bindingFails are the reasons of events that say that a claim finds no volume.
// Others tell of one that is being made, or that waits for the pod's node.
var bindingFails = []string{"FailedBinding", "ProvisioningFailed"}

const claimWay = "no cache (the dependencies are then fetched anew for each pod), or cache.storageClass with one of kubectl get storageclass"

func (c *Client) pendingClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) problem {
	waits := problem{text: fmt.Sprintf("volume claim %s waits for a volume", claim.Name), patience: endlessPatience}
	events, err := c.Kube.CoreV1().Events(claim.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=" + kindClaim + ",involvedObject.name=" + claim.Name,
	})
	if err != nil {
		return waits
	}
	var last *corev1.Event
	for i := range events.Items {
		e := &events.Items[i]
		if e.InvolvedObject.UID == claim.UID && (last == nil || !e.LastTimestamp.Before(&last.LastTimestamp)) {
			last = e
		}
	}
	if last == nil || !slices.Contains(bindingFails, last.Reason) {
		return waits
	}
	return problem{
		text:   fmt.Sprintf("volume claim %s finds no volume: %s", claim.Name, last.Message),
		detail: "in the definition: " + claimWay, patience: longPatience,
	}
}
