package devspace

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
)

// quick are leaseTimes that let a test see several renewals; a noisy machine
// may be late for them, which a lease bears as long as nobody wants it.
var quick = leaseTimes{duration: 2 * time.Second, renew: 50 * time.Millisecond, observe: 300 * time.Millisecond}

// laptop is one machine's directory for the service, with a cache of its own.
func (s *service) laptop(t *testing.T, cache string) *Directory {
	t.Helper()
	hub := s.client.Hub("mine")
	t.Cleanup(func() { hub.Close() })
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte(t.Name()), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := s.client.OpenDirectory(hub, DirectoryConfig{Path: dir, Service: "orders", Devspace: "mine", CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func leased(t *testing.T) (*service, *leaseServer) {
	s, server := newService(t), newLeaseServer(t)
	s.client.Kube = server.client(t, s.client.Kube)
	return s, server
}

func claimAs(who string) Claim { return Claim{Out: io.Discard, times: quick, holder: who} }

func (s *service) mustClaim(d *Directory, c Claim) {
	s.Helper()
	if err := d.Claim(s.Context(), c); err != nil {
		s.Fatal(err)
	}
}

func TestLeaseIsHeldRenewedAndGivenBack(t *testing.T) {
	s, server := leased(t)
	s.mustClaim(s.d, claimAs("ana@laptop"))
	first := server.get("fmc-sync-orders")
	if first.Labels[api.LabelManagedBy] != api.FieldManager || first.Labels[api.LabelDevspace] != "mine" || first.Labels[api.LabelService] != "orders" {
		t.Errorf("labels = %v", first.Labels)
	}
	eventually(t, "a renewal", func() bool { return server.get(first.Name).Spec.RenewTime.After(first.Spec.RenewTime.Time) })
	other := s.laptop(t, t.TempDir())
	err := other.Claim(t.Context(), claimAs("bob@desk"))
	wantError(t, "a second sync", err, "orders is being synced by ana@laptop since ", "--take-over")
	if err := other.Claim(t.Context(), Claim{Once: true, Out: io.Discard, times: quick, holder: "bob@desk"}); !errors.As(err, new(*HeldError)) {
		t.Errorf("a single push = %v, want HeldError", err)
	}
	status, err := s.client.Status(t.Context(), "mine", "orders")
	if err != nil {
		t.Fatal(err)
	}
	if by := status.Services[0].SyncedBy; by == nil || by.Holder != "ana@laptop" || !by.Live || by.Since.IsZero() {
		t.Errorf("status has the holder %+v", by)
	}
	if err := s.d.Close(); err != nil {
		t.Fatal(err)
	}
	if id := holderOf(new(server.get(first.Name))); id != "" {
		t.Errorf("after the end the lease is held by %q", id)
	}
	s.mustClaim(other, claimAs("bob@desk"))
}

// TestTakeOver: the one who loses the lease is told at once, without a renewal,
// and says what it had not pushed.
func TestTakeOver(t *testing.T) {
	s, _ := leased(t)
	s.program()
	slow := quick
	slow.duration, slow.renew = time.Hour, time.Hour // the watch has to tell
	s.mustClaim(s.d, Claim{Out: io.Discard, times: slow, holder: "ana@laptop"})
	var out testutil.Buffer
	ended := make(chan error, 1)
	go func() { ended <- s.d.Watch(t.Context(), false, &out) }()
	eventually(t, "the first push", func() bool { return strings.Contains(out.String(), " → ") })
	// The way to the hub is cut, so that there is something that is not pushed.
	s.hub.Close()
	s.write("unpushed.txt", "precious")
	eventually(t, "a failed push", func() bool { return strings.Contains(out.String(), "not synced") })
	other := s.laptop(t, t.TempDir())
	c := claimAs("bob@desk")
	c.TakeOver = true
	s.mustClaim(other, c)
	select {
	case err := <-ended:
		if lost := new(TakenOverError); !errors.As(err, &lost) || lost.Holder != "bob@desk" {
			t.Errorf("Watch = %v, want TakenOverError by bob@desk", err)
		}
	case <-time.After(ample):
		t.Fatalf("the sync went on; it printed\n%s", out.String())
	}
	for _, part := range []string{"not pushed: unpushed.txt", "bob@desk took over the sync of orders", "--take-over", "is in the directory as it was saved"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("printed\n%s\nwant %q", out.String(), part)
		}
	}
	if _, err := s.d.Push(t.Context()); !errors.As(err, new(*TakenOverError)) {
		t.Errorf("a push after that = %v, want TakenOverError", err)
	}
}

// TestClaimsAtOnce: of several that come at the same moment one gets it.
func TestClaimsAtOnce(t *testing.T) {
	s, _ := leased(t)
	var directories []*Directory
	for range 6 {
		directories = append(directories, s.laptop(t, t.TempDir()))
	}
	errs := make([]error, len(directories))
	var wait sync.WaitGroup
	for i, d := range directories {
		wait.Go(func() { errs[i] = d.Claim(t.Context(), claimAs("ana@laptop")) })
	}
	wait.Wait()
	got := 0
	for _, err := range errs {
		if err == nil {
			got++
		} else if !errors.As(err, new(*HeldError)) {
			t.Errorf("Claim = %v", err)
		}
	}
	if got != 1 {
		t.Errorf("%d of %d claims were granted, want 1", got, len(errs))
	}
}

// TestOutageEndsNoLease: while the API server is away nothing is lost; the
// push that comes first afterwards makes sure.
func TestOutageEndsNoLease(t *testing.T) {
	s, server := leased(t)
	s.program()
	short := leaseTimes{duration: 100 * time.Millisecond, renew: 20 * time.Millisecond}
	s.mustClaim(s.d, Claim{Out: io.Discard, times: short, holder: "ana@laptop"})
	server.set(func() { server.status = http.StatusServiceUnavailable })
	server.CloseClientConnections()
	eventually(t, "the refusal of a push", func() bool {
		_, err := s.d.Push(t.Context())
		return err != nil && strings.Contains(err.Error(), "the server says no")
	})
	if err := s.d.lease.lost(); err != nil {
		t.Errorf("the outage ended the lease: %v", err)
	}
	server.set(func() { server.status = 0 })
	if _, err := s.d.Push(t.Context()); err != nil {
		t.Errorf("a push after the outage = %v", err)
	}
	// Meanwhile somebody else came: the push that finds out is not sent.
	server.set(func() { server.status = http.StatusServiceUnavailable })
	head := s.hub.Head("orders")
	time.Sleep(2 * short.duration)
	server.set(func() {
		theirs := "bob@desk/0"
		server.version++
		l := server.leases["fmc-sync-orders"]
		l.Spec.HolderIdentity, l.ResourceVersion = &theirs, "9999"
		server.status = 0
	})
	s.write("late", "late")
	if _, err := s.d.Push(t.Context()); !errors.As(err, new(*TakenOverError)) || s.hub.Head("orders") != head {
		t.Errorf("a push under another's lease = %v; the hub's head was %s, and is %s", err, head, s.hub.Head("orders"))
	}
}

// TestSuccessorHasEnded: who was away while somebody else synced does not go on
// over that work, though nobody holds the lease any more.
func TestSuccessorHasEnded(t *testing.T) {
	s, server := leased(t)
	s.program()
	short := leaseTimes{duration: 100 * time.Millisecond, renew: time.Hour, observe: time.Millisecond}
	s.mustClaim(s.d, Claim{Out: io.Discard, times: short, holder: "ana@laptop"})
	server.set(func() { server.watching = false }) // the laptop sleeps
	server.CloseClientConnections()
	other := s.laptop(t, t.TempDir())
	eventually(t, "the end of the lease", func() bool { return other.Claim(t.Context(), claimAs("bob@desk")) == nil })
	if _, err := other.Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.Close()
	head := s.hub.Head("orders")
	s.write("late", "late")
	_, err := s.d.Push(t.Context())
	if !errors.As(err, new(*TakenOverError)) || s.hub.Head("orders") != head {
		t.Errorf("a push after another's sync = %v; the hub's head was %s, and is %s", err, head, s.hub.Head("orders"))
	}
	wantError(t, "a push after another's sync", err, "somebody else synced orders meanwhile", "kubectl fmc sync orders")
}

// TestEndedRuns: a lease of a run that died here is taken back at once; one of
// another machine when nobody has renewed it for a while.
func TestEndedRuns(t *testing.T) {
	s, server := leased(t)
	cache := t.TempDir()
	dead := s.laptop(t, cache)
	forever := leaseTimes{duration: time.Hour, renew: time.Hour, observe: time.Hour}
	s.mustClaim(dead, Claim{Out: io.Discard, times: forever, holder: "ana@laptop"})
	again := s.laptop(t, cache)
	if err := again.Claim(t.Context(), claimAs("ana@laptop")); err == nil || !strings.Contains(err.Error(), "on this machine") {
		t.Errorf("a second run beside one that lives: %v, want that it is on this machine", err)
	}
	dead.lease.run.file.Close() // as the kernel does when the process dies
	dead.lease.stop()
	c := claimAs("ana@laptop")
	c.times.observe = time.Hour
	// A program that is started just then has the file for a moment, too.
	eventually(t, "the end of the run", func() bool { return again.Claim(t.Context(), c) == nil })
	again.lease.stop()

	server.set(func() { // it was another machine's, and is long over
		over := server.leases["fmc-sync-orders"].Spec.RenewTime
		over.Time = over.Add(-time.Minute)
	})
	elsewhere := s.laptop(t, t.TempDir())
	var out bytes.Buffer
	c = claimAs("bob@desk")
	c.Out = &out
	s.mustClaim(elsewhere, c)
	if !strings.Contains(out.String(), "looking whether ana@laptop still syncs it") {
		t.Errorf("printed %q", out.String())
	}
}

// TestSlowClock: a holder whose clock is behind is no dead holder.
func TestSlowClock(t *testing.T) {
	s, server := leased(t)
	s.mustClaim(s.d, claimAs("ana@laptop"))
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() { // its writes, as they are with a clock an hour behind
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				server.set(func() {
					l := server.leases["fmc-sync-orders"]
					server.version++
					l.ResourceVersion = "s" + time.Now().String()
					l.Spec.RenewTime.Time = time.Now().Add(-time.Hour)
				})
			}
		}
	})
	err := s.laptop(t, t.TempDir()).Claim(t.Context(), claimAs("bob@desk"))
	close(stop)
	wait.Wait()
	if !errors.As(err, new(*HeldError)) {
		t.Errorf("Claim = %v, want HeldError", err)
	}
}

// TestOneDirectoryTwice: a deploy beside the sync of the same directory is no
// other's push.
func TestOneDirectoryTwice(t *testing.T) {
	s, server := leased(t)
	s.program()
	s.mustClaim(s.d, claimAs("ana@laptop"))
	held := holderOf(new(server.get("fmc-sync-orders")))
	first := s.d
	s.open()
	defer first.Close()
	c := claimAs("ana@laptop")
	if err := s.d.Claim(t.Context(), c); !errors.As(err, new(*HeldError)) {
		t.Errorf("a second sync of the directory = %v, want HeldError", err)
	}
	c.Once = true
	s.mustClaim(s.d, c)
	if _, err := s.d.Push(t.Context()); err != nil {
		t.Error(err)
	}
	s.d.Close()
	if now := holderOf(new(server.get("fmc-sync-orders"))); now != held {
		t.Errorf("the lease is held by %q, want the sync's %q", now, held)
	}
}

func TestLeaseIsForbidden(t *testing.T) {
	s, server := leased(t)
	s.program()
	server.set(func() { server.status = http.StatusForbidden })
	var out bytes.Buffer
	c := claimAs("ana@laptop")
	c.Out = &out
	s.mustClaim(s.d, c)
	if !strings.Contains(out.String(), "syncing without a lease") || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("printed %q, want one line that says it", out.String())
	}
	if _, err := s.d.Push(t.Context()); err != nil {
		t.Error(err)
	}
	if status, err := s.client.Status(t.Context(), "mine", "orders"); err != nil || status.Services[0].SyncedBy != nil {
		t.Errorf("status = %+v, %v", status, err)
	}
}

// TestHostileHolder: who may write a lease may write anything.
func TestHostileHolder(t *testing.T) {
	id := "\x1b[2Jana\r\n" + strings.Repeat("x", 10_000) + "/../../etc/passwd"
	h := holder(&coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &id}})
	if len(h.Holder) > maxHolder || strings.ContainsAny(h.Holder, "\x1b\r\n") {
		t.Errorf("holder = %q", h.Holder)
	}
	for _, run := range []string{runOf(id), "..", "", "zz", strings.Repeat("a", 1<<20)} {
		if known, _, _ := findRun("/", run); known {
			t.Errorf("run %.20q is known", run)
		}
	}
}
