package devspace

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/formicarium/formicarium/internal/api"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SyncHolder is who syncs a service.
type SyncHolder struct {
	Holder  string    `json:"holder"` // user@host
	Since   time.Time `json:"since"`
	Renewed time.Time `json:"renewed"` // the last sign of life
	// Live is set while the lease lasts, by this machine's clock.
	Live bool `json:"live"`
}

func holderOf(object *coordinationv1.Lease) string {
	if object.Spec.HolderIdentity == nil {
		return ""
	}
	return *object.Spec.HolderIdentity
}

// runOf returns the run of a holder's identity.
func runOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// holder reads a Lease that has a holder.
func holder(object *coordinationv1.Lease) SyncHolder {
	name, _, _ := strings.Cut(holderOf(object), "/")
	h := SyncHolder{Holder: printable(name)}
	if t := object.Spec.AcquireTime; t != nil {
		h.Since = t.UTC()
	}
	if t := object.Spec.RenewTime; t != nil {
		h.Renewed = t.UTC()
	}
	duration := defaultLeaseTimes.duration
	if s := object.Spec.LeaseDurationSeconds; s != nil {
		duration = time.Duration(*s) * time.Second
	}
	h.Live = time.Since(h.Renewed) < duration
	return h
}

// maxHolder bounds what is shown of a name, in characters. Anybody who may write
// a lease may write anything there.
const maxHolder = 100

func printable(name string) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name))
	return string(runes[:min(len(runes), maxHolder)])
}

// syncHolders returns who syncs which service of a devspace.
func (c *Client) syncHolders(ctx context.Context, devspace string) (map[string]*SyncHolder, error) {
	list, err := c.Kube.CoordinationV1().Leases(devspace).List(ctx, metav1.ListOptions{LabelSelector: managed + "," + api.LabelService})
	if err != nil {
		return nil, fmt.Errorf("asking who syncs: %w", err)
	}
	holders := map[string]*SyncHolder{}
	for i := range list.Items {
		service, found := strings.CutPrefix(list.Items[i].Name, leasePrefix)
		if id := holderOf(&list.Items[i]); found && id != "" && !undeploys(id) {
			h := holder(&list.Items[i])
			holders[service] = &h
		}
	}
	return holders, nil
}
