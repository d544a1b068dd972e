package devspace

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// Two directories that are synced to one service would overwrite each other
// with every save. So who syncs holds a Lease, fmc-sync-SERVICE in the
// devspace's namespace, and renews it while it does:
//
//	err := directory.Claim(ctx, Claim{Out: os.Stderr})  // *HeldError: somebody else's
//	err = directory.Watch(ctx, …)                       // *TakenOverError: not any more
//	directory.Close()                                   // gives it back
//
// client-go's leaderelection is another thing: it gives up where the lease
// cannot be renewed, waits where it is taken, and takes none that is held. Here
// an outage of the API server ends nothing, since saves take the same road as
// renewals and nobody can push meanwhile; only another holder does. And a push
// first makes sure of a lease that was not renewed for leaseDuration, so that a
// laptop that slept does not push over its successor's work.

// leaseTimes are how long a lease lasts, how often it is renewed, and how long
// one that seems to have ended is watched before it is taken: what says so may
// be a clock that is wrong.
type leaseTimes struct{ duration, renew, observe time.Duration }

// defaultLeaseTimes cost one small request every 5 s, bear two that are lost,
// and see at least one renewal of a holder who lives.
var defaultLeaseTimes = leaseTimes{duration: 15 * time.Second, renew: 5 * time.Second, observe: 7500 * time.Millisecond}

// leasePrefix and a service's name are its Lease's name.
const leasePrefix = "fmc-sync-"

// Claim says how to get a directory's lease.
type Claim struct {
	// TakeOver takes it from whoever holds it, which ends that sync.
	TakeOver bool
	// Once is for one push of the present state. Where this very directory is
	// being synced by another run, that is no reason against it.
	Once bool
	// Out is told what the user should know.
	Out io.Writer

	times  leaseTimes
	holder string // user@host where it is another than this one
}

// HeldError says that somebody else syncs the service.
type HeldError struct {
	Service string
	SyncHolder
	Own bool // by the same user on the same machine
	// Undeploys is set where it is not synced but undeployed.
	Undeploys bool
}

func (e *HeldError) Error() string {
	if e.Undeploys {
		return fmt.Sprintf("%s is being undeployed by %s since %s: wait until that ends", e.Service, e.Holder, clockTime(e.Since))
	}
	where := ""
	if e.Own {
		where = " on this machine"
	}
	return fmt.Sprintf("%s is being synced by %s%s since %s: wait until that ends, or add --take-over, which ends it",
		e.Service, e.Holder, where, clockTime(e.Since))
}

// TakenOverError says that somebody else took the lease. There is no Holder where
// that one has given it back.
type TakenOverError struct {
	Service string
	SyncHolder
	// Undeployed is set where it was taken to undeploy the service.
	Undeployed bool
}

func (e *TakenOverError) Error() string {
	if e.Undeployed {
		return e.undeployedText()
	}
	if e.Holder == "" {
		return fmt.Sprintf("somebody else synced %s meanwhile, and has ended: see whether what is on the hub may be replaced, and go on with kubectl fmc sync %s", e.Service, e.Service)
	}
	return fmt.Sprintf("%s took over the sync of %s at %s: take it back with kubectl fmc sync %s --take-over", e.Holder, e.Service, clockTime(e.Since), e.Service)
}

func clockTime(t time.Time) string {
	if time.Since(t).Abs() > 18*time.Hour {
		return t.Local().Format("2006-01-02 15:04:05")
	}
	return t.Local().Format("15:04:05")
}

// lease is a held lease. A nil lease is of one who may not hold any: all its
// methods do nothing.
type lease struct {
	leases    coordination.LeaseInterface
	service   string
	labels    map[string]string
	directory string
	id        string // user@host/run
	times     leaseTimes
	run       *runFile
	runs      string // the directory of run files

	// held ends when somebody else took the lease; its cause is the error.
	held context.Context
	// deployed reports a service that is no more: see Directory.checkDeployed.
	deployed func(context.Context) error
	lose     context.CancelCauseFunc
	stop     context.CancelFunc // ends keeping
	kept     sync.WaitGroup

	mu      sync.Mutex // one request at a time
	object  *coordinationv1.Lease
	renewed time.Time // by the wall clock, which goes on while a laptop sleeps
}

// Claim gets the lease of the directory's service. Where the caller has no
// rights on leases it says so, once, and the directory goes without.
func (d *Directory) Claim(ctx context.Context, c Claim) error {
	l, err := d.newLease(c)
	if err != nil {
		return err
	}
	err = l.claim(ctx, c)
	if err == nil {
		l.begin()
		d.lease = l
		return nil
	}
	l.run.close()
	switch {
	case errors.Is(err, errOwnSession):
		return nil
	case apierrors.IsForbidden(err):
		fmt.Fprintf(c.Out, "%s: syncing without a lease, so another sync would not be noticed (who may edit the namespace's Leases would have one): %v\n", d.service, err)
		return nil
	}
	return err
}

func (d *Directory) newLease(c Claim) (*lease, error) {
	var random [8]byte
	rand.Read(random[:])
	run := hex.EncodeToString(random[:])
	base := d.cache
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("finding the cache directory: %w", err)
		}
		base = filepath.Join(cache, "formicarium")
	}
	l := &lease{
		leases: d.client.Kube.CoordinationV1().Leases(d.devspace), service: d.service, directory: d.repo.Dir(),
		deployed: d.checkDeployed,
		labels:   map[string]string{api.LabelManagedBy: api.FieldManager, api.LabelDevspace: d.devspace, api.LabelService: d.service},
		id:       orElse(c.holder, me()) + "/" + run, times: c.times, runs: filepath.Join(base, "runs"),
	}
	if l.times == (leaseTimes{}) {
		l.times = defaultLeaseTimes
	}
	l.held, l.lose = context.WithCancelCause(context.Background())
	var err error
	l.run, err = openRun(l.runs, run, l.directory)
	return l, err
}

// me is user@host.
func me() string {
	name, host := "somebody", "somewhere"
	if u, err := user.Current(); err == nil {
		name = u.Username[strings.LastIndexByte(u.Username, '\\')+1:] // DOMAIN\user
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// errOwnSession is no fault: another run syncs the same directory.
var errOwnSession = errors.New("the directory is being synced already")

// claimTries is how often a claim is tried against others that come at the same
// moment.
const claimTries = 5

func (l *lease) claim(ctx context.Context, c Claim) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	for range claimTries {
		var found *coordinationv1.Lease
		found, err = l.leases.Get(ctx, leasePrefix+l.service, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			found = nil
		case err != nil:
			return fmt.Errorf("asking who syncs %s: %w", l.service, err)
		case !c.TakeOver:
			if err := l.free(ctx, found, c); err != nil {
				return err
			}
		}
		if err = l.write(ctx, found, true); err == nil || !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return err
}

// free reports who holds the lease; nil where it may be taken.
func (l *lease) free(ctx context.Context, found *coordinationv1.Lease, c Claim) error {
	id := holderOf(found)
	if id == "" {
		return nil
	}
	known, alive, directory := findRun(l.runs, runOf(id))
	if known && !alive {
		forgetRun(l.runs, runOf(id))
		return nil // ours, and it ended without giving the lease back
	}
	if known && c.Once && directory == l.directory {
		return errOwnSession
	}
	held := &HeldError{Service: l.service, SyncHolder: holder(found), Own: known, Undeploys: undeploys(id)}
	if held.Live {
		return held
	}
	fmt.Fprintf(c.Out, "%s: looking whether %s still syncs it\n", l.service, held.Holder)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(l.times.observe):
	}
	now, err := l.leases.Get(ctx, found.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("asking who syncs %s: %w", l.service, err)
	}
	if err == nil && now.ResourceVersion != found.ResourceVersion && holderOf(now) != "" {
		return held
	}
	return nil
}

// write makes the lease ours, or renews it: found is what it is now, nil where
// there is none.
func (l *lease) write(ctx context.Context, found *coordinationv1.Lease, acquire bool) error {
	begun := time.Now()
	now, seconds := metav1.NewMicroTime(begun), int32(max(1, l.times.duration.Seconds()))
	var next *coordinationv1.Lease
	if found == nil {
		next = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leasePrefix + l.service}}
	} else {
		next = found.DeepCopy()
	}
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	for name, value := range l.labels {
		next.Labels[name] = value
	}
	spec := &next.Spec
	if acquire || spec.AcquireTime == nil {
		transitions := acquired(next) + 1
		spec.AcquireTime, spec.LeaseTransitions = &now, &transitions
	}
	spec.HolderIdentity, spec.RenewTime, spec.LeaseDurationSeconds = &l.id, &now, &seconds
	var err error
	options := metav1.UpdateOptions{FieldManager: api.FieldManager}
	if found == nil {
		next, err = l.leases.Create(ctx, next, metav1.CreateOptions{FieldManager: api.FieldManager})
	} else {
		next, err = l.leases.Update(ctx, next, options)
	}
	if err != nil {
		return fmt.Errorf("writing the lease on %s: %w", l.service, err)
	}
	l.object, l.renewed = next, begun.Round(0)
	return nil
}
