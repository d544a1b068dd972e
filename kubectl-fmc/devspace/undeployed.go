package devspace

import (
	"context"
	"fmt"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A sync whose service is undeployed ends. It hears of that by the Lease, which
// an undeploy takes before it deletes anything; where it did not hear (the laptop
// slept, there are no rights on Leases), it finds out before it would make what
// the undeploy removed: the Lease, or the repository on the hub. Those may be
// missing for other reasons, and are made anew then; so the Deployment decides.

// undeployRun is the run in the identity of a Lease's holder that undeploys.
const undeployRun = "undeploy"

func undeploys(id string) bool { return runOf(id) == undeployRun }

// endSync takes the service's Lease, whoever has it, and returns it as it is
// then; nil where there is none, or the caller has no rights on Leases.
func (c *Client) endSync(ctx context.Context, devspace, service string) (*coordinationv1.Lease, error) {
	leases := c.Kube.CoordinationV1().Leases(devspace)
	var err error
	for range claimTries {
		var found *coordinationv1.Lease
		found, err = leases.Get(ctx, leasePrefix+service, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || err == nil && found.Labels[api.LabelManagedBy] != api.FieldManager {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("asking who syncs %s: %w", service, err)
		}
		id, now := me()+"/"+undeployRun, metav1.NewMicroTime(time.Now())
		seconds, transitions := int32(defaultLeaseTimes.duration.Seconds()), acquired(found)+1
		found.Spec.HolderIdentity, found.Spec.AcquireTime, found.Spec.RenewTime = &id, &now, &now
		found.Spec.LeaseDurationSeconds, found.Spec.LeaseTransitions = &seconds, &transitions
		found, err = leases.Update(ctx, found, metav1.UpdateOptions{FieldManager: api.FieldManager})
		switch {
		case err == nil:
			return found, nil
		case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
			return nil, nil
		case !apierrors.IsConflict(err): // else it was renewed meanwhile
			return nil, fmt.Errorf("ending the sync of %s: %w", service, err)
		}
	}
	return nil, fmt.Errorf("ending the sync of %s: %w", service, err)
}

// checkDeployed reports, as a *TakenOverError, a service that was deployed when
// its sync began and is no more. Where that cannot be known it is taken to be.
func (d *Directory) checkDeployed(ctx context.Context) error {
	if !d.synced.Load() {
		return nil // a first deploy pushes before there is anything
	}
	found, err := d.client.Kube.AppsV1().Deployments(d.devspace).List(ctx, metav1.ListOptions{LabelSelector: managed + "," + serviceSelector(d.service)})
	if err != nil {
		return nil
	}
	for _, deployment := range found.Items {
		if deployment.DeletionTimestamp == nil {
			return nil
		}
	}
	return &TakenOverError{Service: d.service, Undeployed: true}
}

// beforeCreate has a push end, with the watch that it is of, before it would
// create the repository of a service that is undeployed.
func (d *Directory) beforeCreate(ctx context.Context) error {
	gone := d.checkDeployed(ctx)
	if gone != nil && d.end != nil {
		d.end(gone)
	}
	return gone
}

// undeployedText is the error's where the service was undeployed.
func (e *TakenOverError) undeployedText() string {
	by := fmt.Sprintf("%s was undeployed", e.Service)
	if e.Holder != "" {
		by = fmt.Sprintf("%s undeployed %s at %s", e.Holder, e.Service, clockTime(e.Since))
	}
	return by + ": deploy it again with kubectl fmc deploy " + e.Service
}
