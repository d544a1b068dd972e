package devspace

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace/definition"
	corev1 "k8s.io/api/core/v1"
)

// deploy deploys the service with a time limit.
func (s *service) deploy(limit time.Duration) (string, error) {
	s.Helper()
	d, err := definition.New("orders", "busybox", s.dir, nil)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	defer cancel()
	var out bytes.Buffer
	err = s.client.Deploy(ctx, "mine", d, s.d, &out)
	return out.String(), err
}

const ample = 30 * time.Second

func TestDeployFailsWhereTheBuildDoes(t *testing.T) {
	s := newService(t)
	s.program()
	if out, err := s.deploy(ample); err != nil || !strings.Contains(out, "running "+short(s.hub.Head("orders"))) {
		t.Fatalf("deploy = %v, printed %s", err, out)
	}
	s.breakBuild()
	out, err := s.deploy(ample)
	wantError(t, "deploy of what does not build", err, "does not run "+short(s.hub.Head("orders")), "exit 2")
	if !strings.Contains(out, "failed: building") || !strings.Contains(out, "line 7 is wrong") || strings.Contains(out, "running "+short(s.hub.Head("orders"))) {
		t.Errorf("printed %s\nwant what became of the push", out)
	}
}

func TestDeployWaitsForABuild(t *testing.T) {
	s := newService(t)
	s.program()
	gate := t.TempDir() + "/open"
	s.write(".fmc/build", "until test -e "+gate+"; do sleep 0.02; done\n")
	// The hub is not asked to wait for the build: the first pull is under way.
	s.hub.SetStingers("orders")
	_, err := s.deploy(2 * time.Second)
	wantError(t, "deploy with a short time limit", err, "--timeout", "is building")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := s.deploy(ample); err != nil {
		t.Errorf("deploy = %v, printed %s", err, out)
	}
}

func TestDeployFailsWhereTheProcessEnds(t *testing.T) {
	s := newService(t)
	s.write(".fmc/start", "sleep 0.05; exit 3\n")
	_, err := s.deploy(3 * time.Second)
	wantError(t, "deploy of what ends at once", err, "the process ended by itself (exit 3)", "fake logs")
}

func TestSyncOnceTellsWhatRuns(t *testing.T) {
	s := newService(t)
	s.program()
	if out, err := s.syncOnce(); err != nil || !strings.Contains(out, "orders: in sync") {
		t.Fatalf("sync = %v, printed %s", err, out)
	}
	if out, err := s.syncOnce(); err != nil || !strings.Contains(out, "on the hub already") || !strings.Contains(out, "orders: in sync") {
		t.Errorf("sync of nothing new = %v, printed %s", err, out)
	}
	s.breakBuild()
	_, err := s.syncOnce()
	wantError(t, "sync of what does not build", err, "exit 2")
	// The hub is up to date now, and no pod answers.
	out, err := s.syncOnce()
	wantError(t, "the same again", err, "does not run", "exit 2")
	if strings.Contains(out, "in sync") {
		t.Errorf("printed %s", out)
	}
	s.write(".fmc/build", "true\n")
	s.write(".fmc/start", "exit 3\n")
	_, err = s.syncOnce()
	wantError(t, "sync of what ends at once", err, "ended by itself (exit 3)")
	_, err = s.syncOnce()
	wantError(t, "the same again", err, "ended by itself (exit 3)")
}

func TestWatchTellsWhatRuns(t *testing.T) {
	s := newService(t)
	s.program()
	s.breakBuild()
	if _, err := s.syncOnce(); err == nil {
		t.Fatal("a build that cannot succeed does")
	}
	s.d.Close()
	s.open()
	ctx, cancel := context.WithCancel(t.Context())
	out := &testutil.Buffer{}
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := s.d.Watch(ctx, false, out); err != nil {
			t.Errorf("Watch = %v", err)
		}
	})
	defer watching.Wait()
	defer cancel()
	eventually(t, "the watch tells that what is on the hub does not run", func() bool {
		return strings.Contains(out.String(), "is on the hub and does not run") && strings.Contains(out.String(), "exit 2")
	})
	if strings.Contains(out.String(), "in sync at") {
		t.Error("it is in sync all the same")
	}
	s.write(".fmc/build", "true\n")
	eventually(t, "the next save runs", func() bool {
		return strings.Contains(out.String(), "restarted as pid") || strings.Contains(out.String(), "runs ")
	})
}

// slowPod is a pod whose reset is answered when release is called.
func slowPod(t *testing.T) (http.HandlerFunc, func()) {
	t.Helper()
	answered := make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/reset" {
			http.NotFound(w, r)
			return
		}
		io.Copy(io.Discard, r.Body)
		select {
		case <-answered:
		case <-r.Context().Done(): // nobody waits any more
		}
		json.NewEncoder(w).Encode(api.StingerStatus{State: api.StateRunning})
	}, func() { close(answered) }
}

// A process that needs its grace takes longer than a small question may.
func TestRestartTakesItsTime(t *testing.T) {
	handler, release := slowPod(t)
	client := fakeClient(t, pods{"orders-1/24000": handler}, append(deployment("orders", 1), servicePod("orders", "orders-1", corev1.ConditionTrue), hubPod())...)
	client.Answer = time.Millisecond
	time.AfterFunc(100*client.Answer, release)
	var out bytes.Buffer
	if err := client.Restart(t.Context(), "mine", "orders", &out); err != nil || !strings.Contains(out.String(), "orders-1/orders: restarted") {
		t.Errorf("restart = %v, printed %s", err, &out)
	}
	handler, _ = slowPod(t)
	client = fakeClient(t, pods{"orders-1/24000": handler}, append(deployment("orders", 1), servicePod("orders", "orders-1", corev1.ConditionTrue), hubPod())...)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	wantError(t, "restart beyond its time", client.Restart(ctx, "mine", "orders", &out), "--timeout")
}

func TestRestartGoesOn(t *testing.T) {
	var resets atomic.Int32
	restarts := func(http.ResponseWriter, *http.Request) { resets.Add(1) }
	fails := func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":"building: exit 2"}`, http.StatusInternalServerError)
	}
	evicted := servicePod("orders", "orders-0", corev1.ConditionFalse)
	evicted.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}
	done := servicePod("orders", "orders-9", corev1.ConditionFalse)
	done.Status.Phase = corev1.PodSucceeded
	objects := append(deployment("orders", 1), evicted, done, hubPod())
	for _, name := range []string{"orders-1", "orders-2", "orders-3"} {
		objects = append(objects, servicePod("orders", name, corev1.ConditionTrue))
	}
	client := fakeClient(t, pods{"orders-1/24000": fails, "orders-2/24000": restarts, "orders-3/24000": fails}, objects...)
	var out bytes.Buffer
	err := client.Restart(t.Context(), "mine", "orders", &out)
	wantError(t, "restart", err, "orders-1/orders: ", "orders-3/orders: ", "exit 2")
	if err != nil && (strings.Contains(err.Error(), "orders-0") || strings.Contains(err.Error(), "orders-9")) {
		t.Errorf("restart = %v, want nothing of pods that have ended", err)
	}
	if resets.Load() != 1 || !strings.Contains(out.String(), "orders-2/orders: restarted") {
		t.Errorf("%d restarts, printed %s, want the pod between to be restarted", resets.Load(), &out)
	}
}
