package devspace

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
)

// running is a sync that has pushed once.
type running struct {
	*service
	out   testutil.Buffer
	ended chan error
}

func (s *service) runSync() *running {
	s.Helper()
	collectGarbage(s.client)
	s.program()
	r := &running{service: s, ended: make(chan error, 1)}
	go func() { r.ended <- s.d.Watch(s.Context(), false, &r.out) }()
	eventually(s.T, "the first push", func() bool { return strings.Contains(r.out.String(), " → ") })
	return r
}

func (r *running) undeploy() string {
	r.Helper()
	_, out := mustUndeploy(r.T, r.client, false, "orders")
	return out
}

// wantUndeployed fails the test unless the sync ends, says why, and leaves no
// repository behind.
func (r *running) wantUndeployed(parts ...string) {
	r.Helper()
	select {
	case err := <-r.ended:
		if lost := new(TakenOverError); !errors.As(err, &lost) || !lost.Undeployed {
			r.Errorf("Watch = %v, want TakenOverError by an undeploy", err)
		}
	case <-time.After(ample):
		r.Fatalf("the sync went on; it printed\n%s", r.out.String())
	}
	for _, part := range append(parts, "this sync ends: ", "kubectl fmc deploy orders") {
		if !strings.Contains(r.out.String(), part) {
			r.Errorf("the sync printed\n%s\nwant %q", r.out.String(), part)
		}
	}
	hub := r.client.Hub("mine")
	defer hub.Close()
	if there, err := hub.Repositories(r.Context()); err != nil || len(there) > 0 {
		r.Errorf("the hub has %v, %v; want nothing", there, err)
	}
}

// hear are leaseTimes of a sync that is told by its watch or not at all.
var hear = leaseTimes{duration: time.Hour, renew: time.Hour, observe: quick.observe}

func TestUndeployEndsTheSync(t *testing.T) {
	s, server := leased(t)
	s.mustClaim(s.d, Claim{Out: io.Discard, times: hear, holder: "ana@laptop"})
	r := s.runSync()
	eventually(t, "a watch of the lease", func() bool { return server.watches() > 0 })
	said := r.undeploy()
	if !strings.Contains(said, "orders: ended the sync of ana@laptop\n") || !strings.Contains(said, "deleted lease/fmc-sync-orders\n") {
		t.Errorf("the undeploy printed %s", said)
	}
	r.wantUndeployed("undeployed")
	if left := server.get("fmc-sync-orders"); left.Name != "" {
		t.Errorf("the lease is still there: %+v", left)
	}
}

// TestUndeployOfASleeper: who heard nothing finds out before its next push.
func TestUndeployOfASleeper(t *testing.T) {
	s, server := leased(t)
	server.set(func() { server.watching = false })
	s.mustClaim(s.d, Claim{Out: io.Discard, times: leaseTimes{duration: time.Millisecond, renew: time.Hour}, holder: "ana@laptop"})
	r := s.runSync()
	r.undeploy()
	s.write("more.txt", "saved after the undeploy")
	r.wantUndeployed("orders was undeployed", "not pushed: more.txt")
	if left := server.get("fmc-sync-orders"); left.Name != "" {
		t.Errorf("the lease was made anew: %+v", left)
	}
}

// TestUndeployWithoutLeases: a sync that holds none does not create the
// repository anew.
func TestUndeployWithoutLeases(t *testing.T) {
	s, server := leased(t)
	server.set(func() { server.status = http.StatusForbidden })
	s.mustClaim(s.d, claimAs("ana@laptop"))
	r := s.runSync()
	r.undeploy()
	s.write("more.txt", "saved after the undeploy")
	r.wantUndeployed("orders was undeployed", "not pushed: more.txt")
	_, err := s.syncOnce()
	wantError(t, "a single push", err, "orders was undeployed")
}

// TestLostRepositoryIsMadeAnew: it is missing for another reason.
func TestLostRepositoryIsMadeAnew(t *testing.T) {
	s := newService(t)
	r := s.runSync()
	s.hub.DeleteRepository("orders")
	s.write("more.txt", "saved after the loss")
	eventually(t, "a second push", func() bool { return strings.Contains(r.out.String(), "more.txt → ") })
}

// TestLeaseOfAnUndeploy: who wants to sync meanwhile is told what goes on.
func TestLeaseOfAnUndeploy(t *testing.T) {
	s, server := leased(t)
	server.set(func() {
		server.leases["fmc-sync-orders"] = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "fmc-sync-orders", Labels: map[string]string{api.LabelManagedBy: api.FieldManager, api.LabelService: "orders"}}}
	})
	if _, err := s.client.endSync(t.Context(), "mine", "orders"); err != nil {
		t.Fatal(err)
	}
	wantError(t, "a claim", s.d.Claim(t.Context(), claimAs("bob@desk")), "orders is being undeployed by "+me())
	status, err := s.client.Status(t.Context(), "mine", "orders")
	if err != nil || status.Services[0].SyncedBy != nil {
		t.Errorf("status = %+v, %v; nobody syncs it", status, err)
	}
}

// TestUndeployIsARecord: for programs it has a kind of its own.
func TestUndeployIsARecord(t *testing.T) {
	s, server := leased(t)
	s.mustClaim(s.d, Claim{Out: io.Discard, times: hear, holder: "ana@laptop"})
	collectGarbage(s.client)
	s.program()
	var out testutil.Buffer
	ended := make(chan error, 1)
	go func() { ended <- s.d.WatchRecords(t.Context(), &out) }()
	eventually(t, "the first push", func() bool { return strings.Contains(out.String(), `"kind":"synced"`) })
	eventually(t, "a watch of the lease", func() bool { return server.watches() > 0 })
	mustUndeploy(t, s.client, false, "orders")
	eventually(t, "a record", func() bool { return strings.Contains(out.String(), `"kind":"undeployed"`) })
	if err := <-ended; !errors.As(err, new(*TakenOverError)) {
		t.Errorf("WatchRecords = %v", err)
	}
}
