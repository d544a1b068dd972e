package devspace

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// begin keeps the lease until release.
func (l *lease) begin() {
	ctx, stop := context.WithCancel(l.held)
	l.stop = stop
	l.kept.Go(func() { l.renewAlways(ctx) })
	l.kept.Go(func() { l.watchAlways(ctx) })
}

func (l *lease) renewAlways(ctx context.Context) {
	tick := time.NewTicker(l.times.renew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = l.renew(ctx) // a failure matters to a push, which tries again
		}
	}
}

// watchAlways hears at once of another holder. What it misses the next renewal
// finds.
func (l *lease) watchAlways(ctx context.Context) {
	for ctx.Err() == nil {
		changes, err := l.leases.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + leasePrefix + l.service})
		if apierrors.IsForbidden(err) {
			return
		}
		if err == nil {
			l.hear(ctx, changes)
		}
		select {
		case <-ctx.Done():
		case <-time.After(l.times.renew):
		}
	}
}

func (l *lease) hear(ctx context.Context, changes watch.Interface) {
	defer changes.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case change, open := <-changes.ResultChan():
			if !open {
				return
			}
			object, ok := change.Object.(*coordinationv1.Lease)
			if ok && l.look(object) == nil && change.Type == watch.Deleted {
				_ = l.renew(ctx) // which finds out why
			}
		}
	}
}

// look ends the lease where the object has another holder.
func (l *lease) look(object *coordinationv1.Lease) error {
	if id := holderOf(object); id == "" || id == l.id {
		return nil
	}
	l.lose(&TakenOverError{Service: l.service, SyncHolder: holder(object), Undeployed: undeploys(holderOf(object))})
	return l.lost()
}

// lost is the reason for which the lease is no more ours; nil while it is.
func (l *lease) lost() error {
	if l == nil || l.held.Err() == nil {
		return nil
	}
	return context.Cause(l.held)
}

// renew renews the lease, and finds out where somebody else has it.
func (l *lease) renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.lost(); err != nil {
		return err
	}
	// An answer that comes later than the next renewal is due is none.
	ctx, cancel := context.WithTimeout(ctx, max(l.times.renew, time.Second))
	defer cancel()
	err := l.write(ctx, l.object, false)
	if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return err
	}
	// Somebody wrote it, or an answer to us was lost.
	found, err := l.leases.Get(ctx, leasePrefix+l.service, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		if gone := l.deployed(ctx); gone != nil {
			l.lose(gone)
			return l.lost()
		}
		found = nil
	case err != nil:
		return fmt.Errorf("asking who syncs %s: %w", l.service, err)
	default:
		if err := l.look(found); err != nil {
			return err
		}
		if acquired(found) != acquired(l.object) { // by one who has given it back
			l.lose(&TakenOverError{Service: l.service})
			return l.lost()
		}
	}
	return l.write(ctx, found, found == nil)
}

// acquired is how often the lease was.
func acquired(object *coordinationv1.Lease) int32 {
	if object.Spec.LeaseTransitions == nil {
		return 0
	}
	return *object.Spec.LeaseTransitions
}

// confirm is asked before each push. It costs a request only where the lease
// may have ended.
func (l *lease) confirm(ctx context.Context) error {
	if l == nil {
		return nil
	}
	if err := l.lost(); err != nil {
		return err
	}
	l.mu.Lock()
	age := time.Now().Round(0).Sub(l.renewed)
	l.mu.Unlock()
	if age >= 0 && age < l.times.duration {
		return nil
	}
	return l.renew(ctx)
}

// guard returns a context that ends with the lease, too.
func (l *lease) guard(ctx context.Context) (context.Context, context.CancelFunc) {
	if l == nil {
		return context.WithCancel(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(l.held, func() { cancel(context.Cause(l.held)) })
	return ctx, func() { unhook(); cancel(nil) }
}

// releaseLimit bounds how long an end waits for the API server; a lease that is
// not given back ends by itself.
const releaseLimit = 3 * time.Second

// release gives the lease back.
func (l *lease) release() error {
	if l == nil {
		return nil
	}
	l.stop()
	l.kept.Wait()
	defer l.run.close()
	if l.lost() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.lose(errReleased)
	err := l.giveBack(ctx, l.object)
	if apierrors.IsConflict(err) { // the answer to a renewal was lost
		var found *coordinationv1.Lease
		if found, err = l.leases.Get(ctx, leasePrefix+l.service, metav1.GetOptions{}); err == nil && holderOf(found) == l.id {
			err = l.giveBack(ctx, found)
		}
	}
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("giving back the lease on %s: %w", l.service, err)
	}
	return nil
}

func (l *lease) giveBack(ctx context.Context, object *coordinationv1.Lease) error {
	free := object.DeepCopy()
	free.Spec.HolderIdentity, free.Spec.AcquireTime, free.Spec.RenewTime = nil, nil, nil
	_, err := l.leases.Update(ctx, free, metav1.UpdateOptions{})
	return err
}

var errReleased = errors.New("the lease was given back")
