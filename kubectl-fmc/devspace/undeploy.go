package devspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// An undeploy is planned for all services before anything is deleted, and then
// goes one service after the other:
//
//	plan, err := client.PlanUndeploy(ctx, "mine", []string{"orders"}, false)
//	undeployed, err := client.Undeploy(ctx, "mine", plan, progress)
//
// Of a service it first takes the Lease, which ends a sync of it; then go the
// objects, so that a sync without a Lease can see that the service is gone (see
// checkDeployed); then the repository, which such a sync would have created
// anew; and the Lease comes last, so that an undeploy that was cut off finds the
// service again. What is deleted is what was looked at, by its UID: a deploy
// that comes meanwhile loses nothing.

// serviceKinds are those of a service's objects, in the order in which they go.
var serviceKinds = []string{"Deployment", "Service", "ConfigMap", kindClaim}

// Undeployment is what there is of one service to be removed.
type Undeployment struct {
	Service string
	// SyncedBy is whose sync it ends; nil where nobody syncs it.
	SyncedBy *SyncHolder
	// Caches are the claims among what is removed.
	Caches []string

	objects []unstructured.Unstructured
	kept    []string     // as kind/name
	pods    []corev1.Pod // those that go with the objects
	shared  string       // a pod of somebody else's that runs the same repository
	began   time.Time
}

// Undeployed is what became of it.
type Undeployed struct {
	Service string `json:"service"`
	// Deleted are the objects as kind/name, and repository/NAME on the hub.
	Deleted []string `json:"deleted"`
	// Kept are those that were to be kept.
	Kept []string `json:"kept,omitempty"`
	// EndedSync is who synced it.
	EndedSync *SyncHolder `json:"endedSync,omitempty"`
}

// NotDeployedError says that a service is not one that a deploy made.
type NotDeployedError struct {
	Devspace, Service string
	// There are the services that are deployed.
	There []string
}

func (e *NotDeployedError) Error() string {
	there := "it has none"
	if len(e.There) > 0 {
		there = "it has " + strings.Join(e.There, ", ")
	}
	return fmt.Sprintf("no service %s in devspace %s: %s", e.Service, e.Devspace, there)
}

// PlanUndeploy finds what there is of each service, and reports all that are not
// deployed, or not by the plugin.
func (c *Client) PlanUndeploy(ctx context.Context, devspace string, names []string, keepCache bool) ([]*Undeployment, error) {
	holders, err := c.syncHolders(ctx, devspace)
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, err
	}
	var plan []*Undeployment
	var faults []error
	for _, name := range names {
		u, err := c.planService(ctx, devspace, name, keepCache)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if by := holders[name]; by != nil && by.Live {
			u.SyncedBy = by
		}
		plan = append(plan, u)
	}
	return plan, errors.Join(faults...)
}

func (c *Client) planService(ctx context.Context, devspace, name string, keepCache bool) (*Undeployment, error) {
	u := &Undeployment{Service: name, began: time.Now()}
	if err := api.CheckName("service", name); err != nil {
		return nil, err
	}
	known, err := c.findObjects(ctx, devspace, u, keepCache)
	if err != nil {
		return nil, err
	}
	foreign, err := c.findPods(ctx, devspace, u)
	if err != nil {
		return nil, err
	}
	if known || len(u.pods) > 0 {
		return u, nil
	}
	if err := c.checkForeign(ctx, devspace, name, foreign); err != nil {
		return nil, err
	}
	// What is left of one that kubectl deleted, or that an undeploy did not end:
	// the lease tells of it, or the repository where there is no lease.
	if c.remains(ctx, devspace, name) {
		return u, nil
	}
	there, err := c.ServiceNames(ctx, devspace)
	if err != nil {
		return nil, err
	}
	slices.Sort(there)
	return nil, &NotDeployedError{Devspace: devspace, Service: name, There: there}
}

// findObjects lists what a deploy made, and reports whether there is anything to
// remove.
func (c *Client) findObjects(ctx context.Context, devspace string, u *Undeployment, keepCache bool) (known bool, err error) {
	for _, kind := range serviceKinds {
		found, err := c.Dynamic.Resource(kinds[kind].resource).Namespace(devspace).List(ctx, metav1.ListOptions{LabelSelector: managed + "," + serviceSelector(u.Service)})
		if kind == kindClaim && apierrors.IsForbidden(err) {
			continue // who may not see any has made none
		}
		if err != nil {
			return false, fmt.Errorf("listing %ss of %s: %w", strings.ToLower(kind), u.Service, err)
		}
		for _, object := range found.Items {
			if metav1.GetControllerOf(&object) != nil {
				continue // its maker's, who copied the labels
			}
			object.SetKind(kind) // items of a list need not have theirs
			if kind == kindClaim && keepCache {
				u.kept = append(u.kept, objectName(&object))
				continue
			}
			if kind == kindClaim {
				u.Caches = append(u.Caches, object.GetName())
			}
			known = true
			u.objects = append(u.objects, object)
		}
	}
	return known, nil
}

// findPods lists the pods that go with the objects, and returns those of the
// service's name that somebody else made.
func (c *Client) findPods(ctx context.Context, devspace string, u *Undeployment) (foreign []corev1.Pod, err error) {
	pods, err := c.Kube.CoreV1().Pods(devspace).List(ctx, metav1.ListOptions{LabelSelector: serviceSelector(u.Service)})
	if err != nil {
		return nil, fmt.Errorf("listing pods of %s: %w", u.Service, err)
	}
	for _, pod := range pods.Items {
		if pod.Labels[api.LabelManagedBy] == api.FieldManager {
			u.pods = append(u.pods, pod)
			continue
		}
		foreign = append(foreign, pod)
		if len(stingers(&pod)) > 0 && len(living([]corev1.Pod{pod})) > 0 {
			u.shared = pod.Name
		}
	}
	return foreign, nil
}

// checkForeign reports a service that is somebody else's, and the way to be rid
// of it.
func (c *Client) checkForeign(ctx context.Context, devspace, name string, pods []corev1.Pod) error {
	if len(pods) > 0 {
		return fmt.Errorf("service %s was not made by kubectl fmc deploy: pod %s of it was made by others and is only injected: "+
			"take the annotation out of its manifest with kubectl fmc uninject and apply that, or delete what made it with kubectl -n %s delete", name, pods[0].Name, devspace)
	}
	found, err := c.Dynamic.Resource(kinds["Deployment"].resource).Namespace(devspace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("looking for deployment/%s: %w", name, err)
	case found.GetLabels()[api.LabelManagedBy] == api.FieldManager && found.GetLabels()[api.LabelService] == "":
		return fmt.Errorf("deployment/%s is a part of the devspace and no service: it goes with kubectl fmc devspace delete %s", name, devspace)
	}
	return fmt.Errorf("deployment/%s was not made by kubectl fmc deploy: delete it with kubectl -n %s delete deployment %s", name, devspace, name)
}

// remains reports a lease, or else a repository, of a service without objects.
func (c *Client) remains(ctx context.Context, devspace, name string) bool {
	found, err := c.Kube.CoordinationV1().Leases(devspace).Get(ctx, leasePrefix+name, metav1.GetOptions{})
	if err == nil && found.Labels[api.LabelManagedBy] == api.FieldManager {
		return true
	}
	hub := c.Hub(devspace)
	defer hub.Close()
	repositories, err := hub.Repositories(ctx)
	_, has := repositories[name]
	return err == nil && has
}

// Undeploy removes what was planned, and returns when the pods are gone too. A
// service that cannot be removed does not keep the others.
func (c *Client) Undeploy(ctx context.Context, devspace string, plan []*Undeployment, out io.Writer) ([]Undeployed, error) {
	hub := c.Hub(devspace)
	defer hub.Close()
	undeployed := make([]Undeployed, len(plan))
	faults := make([]error, len(plan))
	out = SyncWriter(out)
	for i, u := range plan {
		undeployed[i] = Undeployed{Service: u.Service, Deleted: []string{}, Kept: u.kept, EndedSync: u.SyncedBy}
		if err := c.removeService(ctx, devspace, hub, u, &undeployed[i], out); err != nil {
			faults[i] = fmt.Errorf("undeploying %s (the same command again goes on with it): %w", u.Service, err)
		}
	}
	sideBySide(len(plan), func(i int) {
		if faults[i] != nil {
			return
		}
		if faults[i] = c.waitRemoved(ctx, devspace, plan[i]); faults[i] == nil {
			fmt.Fprintf(out, "%s is gone (%s)\n", plan[i].Service, seconds(time.Since(plan[i].began)))
		}
	})
	return undeployed, errors.Join(faults...)
}

func (c *Client) removeService(ctx context.Context, devspace string, hub *Hub, u *Undeployment, done *Undeployed, out io.Writer) error {
	lease, err := c.endSync(ctx, devspace, u.Service)
	if err != nil {
		return err
	}
	if u.SyncedBy != nil && lease != nil {
		fmt.Fprintf(out, "%s: ended the sync of %s\n", u.Service, u.SyncedBy.Holder)
	}
	deleted := func(name string) {
		done.Deleted = append(done.Deleted, name)
		fmt.Fprintf(out, "deleted %s\n", name)
	}
	for i := range u.objects {
		object := &u.objects[i]
		uid := object.GetUID()
		// Background, whatever the kind's default: pods must not outlive it.
		policy := metav1.DeletePropagationBackground
		err := c.Dynamic.Resource(kinds[object.GetKind()].resource).Namespace(devspace).Delete(ctx, object.GetName(),
			metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid}})
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone, and maybe another is there by now
		case err != nil:
			return fmt.Errorf("deleting %s: %w", objectName(object), err)
		default:
			deleted(objectName(object))
		}
	}
	switch has, err := hub.deleteRepository(ctx, u); {
	case err != nil:
		return err
	case has && u.shared != "":
		fmt.Fprintf(out, "%s: left its repository on the hub, which pod %s runs that others made\n", u.Service, u.shared)
	case has:
		deleted("repository/" + u.Service)
	}
	for _, name := range u.kept {
		fmt.Fprintf(out, "kept %s\n", name)
	}
	return c.dropLease(ctx, devspace, lease, deleted)
}

// dropLease deletes the lease that endSync took; what somebody made of it since
// then stays.
func (c *Client) dropLease(ctx context.Context, devspace string, lease *coordinationv1.Lease, deleted func(string)) error {
	if lease == nil {
		return nil
	}
	uid, version := lease.UID, lease.ResourceVersion
	err := c.Kube.CoordinationV1().Leases(devspace).Delete(ctx, lease.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting lease/%s: %w", lease.Name, err)
	}
	if err == nil {
		deleted("lease/" + lease.Name)
	}
	return nil
}

// deleteRepository deletes the service's repository, unless somebody else's pod
// runs it, and reports whether there was one.
func (h *Hub) deleteRepository(ctx context.Context, u *Undeployment) (bool, error) {
	repositories, err := h.Repositories(ctx)
	if err != nil {
		return false, err
	}
	if _, has := repositories[u.Service]; !has || u.shared != "" {
		return has, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if _, err := request(ctx, h.client, http.MethodDelete, hubURL+"/api/repositories/"+u.Service, nil); err != nil {
		return false, fmt.Errorf("deleting repository %s on the hub: %w", u.Service, err)
	}
	return true, nil
}

// waitRemoved waits until the objects and pods that were there are gone. Others
// of their names are a later deploy's.
func (c *Client) waitRemoved(ctx context.Context, devspace string, u *Undeployment) error {
	for {
		left, err := c.left(ctx, devspace, u)
		if err == nil && left == "" {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		if !pause(ctx, c.Poll) {
			return fmt.Errorf("waiting for %s to be gone: %w: it goes on by itself; see kubectl -n %s get pods,pvc -l %s=%s",
				orElse(left, u.Service), ctx.Err(), devspace, api.LabelService, u.Service)
		}
	}
}

// left names something of the service that is there still.
func (c *Client) left(ctx context.Context, devspace string, u *Undeployment) (string, error) {
	pods, err := c.Kube.CoreV1().Pods(devspace).List(ctx, metav1.ListOptions{LabelSelector: managed + "," + serviceSelector(u.Service)})
	if err != nil {
		return "", fmt.Errorf("listing pods of %s: %w", u.Service, err)
	}
	for _, pod := range pods.Items {
		if slices.ContainsFunc(u.pods, func(p corev1.Pod) bool { return p.UID == pod.UID && p.Name == pod.Name }) {
			return "pod/" + pod.Name, nil
		}
	}
	for i := range u.objects {
		object := &u.objects[i]
		there, err := c.Dynamic.Resource(kinds[object.GetKind()].resource).Namespace(devspace).Get(ctx, object.GetName(), metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return "", fmt.Errorf("looking for %s: %w", objectName(object), err)
		}
		if err == nil && there.GetUID() == object.GetUID() {
			return objectName(object), nil
		}
	}
	return "", nil
}
