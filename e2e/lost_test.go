//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/e2e/harness"
	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
)

// testLost breaks what is between a save and the pod. After each drill the
// pod's tree is the directory's, the same sync has gone on, and the developer
// was told what happened.
func testLost(t *testing.T, s *system) {
	for _, drill := range []struct {
		name string
		test func(*testing.T, *drill)
	}{
		{"HubKilledMidPush", drillHubKilled},
		{"PodDeletedWhileSyncing", drillPodDeleted},
		{"ConnectionIsABlackHole", drillBlackHole},
		{"ConnectionIsReset", drillReset},
		{"APIServerRestarted", drillAPIServer},
		{"LaptopAsleep", drillAsleep},
		{"TwoLaptops", drillTwoLaptops},
		{"PodRescheduledWhileOff", drillPodWhileOff},
		{"HubLostWhileOff", drillHubWhileOff},
	} {
		t.Run(drill.name, func(t *testing.T) { drill.test(t, newDrill(t, s, "orders", s.shop)) })
	}
	t.Run("DiskFull", func(t *testing.T) { drillDiskFull(t, s) })
}

// drill is one service, its directory and the laptop that syncs it.
type drill struct {
	*system
	laptop  *harness.Harness
	service string
	dir     string
	sync    *harness.Background
}

func newDrill(t *testing.T, s *system, service, above string) *drill {
	d := &drill{system: s, laptop: s.Harness, service: service, dir: filepath.Join(above, service)}
	t.Cleanup(func() { os.RemoveAll(filepath.Join(d.dir, "drill")) })
	return d
}

// start starts the sync, which goes on until the test ends or stop.
func (d *drill) start(t *testing.T, args ...string) {
	t.Helper()
	b, err := d.laptop.Start(context.WithoutCancel(t.Context()), append([]string{"sync", d.service, d.dir, "-n", devspace}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	d.sync = b
	t.Cleanup(func() { d.stop(t) })
	d.told(t, "in sync", " → ")
}

func (d *drill) stop(t *testing.T) {
	t.Helper()
	if d.sync == nil {
		return
	}
	if err := d.sync.Stop(); err != nil {
		t.Errorf("stopping the sync: %v", err)
	}
	d.sync = nil
}

// told waits until the sync prints one of parts.
func (d *drill) told(t *testing.T, parts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := d.sync.WaitLine(ctx, parts...); err != nil {
		t.Fatal(err)
	}
}

// write writes a file that the drill's end removes. It comes whole, by a rename:
// half of a large file could be a snapshot of its own.
func (d *drill) write(t *testing.T, name string, size int) {
	t.Helper()
	content := make([]byte, size)
	rand.Read(content) // what does not compress takes its time
	path := filepath.Join(d.dir, "drill", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	whole := d.dir + ".whole"
	if err := os.WriteFile(whole, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(whole, path); err != nil {
		t.Fatal(err)
	}
}

// burst writes n small files over a time.
func (d *drill) burst(t *testing.T, n int, over time.Duration) {
	t.Helper()
	for i := range n {
		d.write(t, fmt.Sprintf("burst/%d", i), 1000)
		time.Sleep(over / time.Duration(n))
	}
}

// equal waits until every pod of the service has the directory's tree.
func (d *drill) equal(t *testing.T) {
	t.Helper()
	want, last := gitTree(t, d.dir), ""
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		out, err := d.FMC(t.Context(), "status", d.service, "-n", devspace, "-o", "json")
		if err != nil {
			last = err.Error()
			continue
		}
		var status struct {
			Services []struct {
				InSync bool
				Pods   []struct{ Containers []api.StingerStatus }
			}
		}
		if err := json.Unmarshal([]byte(out), &status); err != nil {
			t.Fatalf("parsing the status: %v\n%s", err, out)
		}
		last = out
		good := len(status.Services) == 1 && status.Services[0].InSync && len(status.Services[0].Pods) > 0
		for i := 0; good && i < len(status.Services[0].Pods); i++ {
			for _, c := range status.Services[0].Pods[i].Containers {
				good = good && c.Tree == want
			}
		}
		if good {
			return
		}
	}
	t.Fatalf("the pods do not have the directory's tree %s:\n%s", want, last)
}

// gitTree is the tree that git itself makes of a directory.
func gitTree(t *testing.T, dir string) string {
	t.Helper()
	bare := t.TempDir()
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-c", "core.autocrlf=false"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "--bare", bare)
	git("--git-dir", bare, "--work-tree", dir, "add", "--all", dir)
	return git("--git-dir", bare, "write-tree")
}

// drillHubKilled kills the hub while it is being sent what takes seconds.
func drillHubKilled(t *testing.T, d *drill) {
	road := d.onRoad(t)
	d.start(t)
	road.Slow(4 << 20)
	before := road.Passed()
	d.write(t, "large", 32<<20)
	for deadline := time.Now().Add(time.Minute); road.Passed() < before+8<<20; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the push does not begin")
		}
	}
	d.kubectl(t, "delete", "pod", "-n", devspace, "-l", api.LabelName+"="+api.HubName, "--grace-period=0", "--force")
	d.told(t, "not synced, trying again")
	road.Slow(0)
	d.burst(t, 3, 0)
	d.told(t, " → ")
	d.equal(t)
}

func drillPodDeleted(t *testing.T, d *drill) {
	d.start(t)
	d.kubectl(t, "delete", "pod", "-n", devspace, "-l", api.LabelService+"="+d.service, "--wait=false")
	d.burst(t, 10, 3*time.Second)
	d.told(t, " → ")
	d.kubectl(t, "rollout", "status", "-n", devspace, "deployment/"+d.service, "--timeout=90s")
	d.equal(t)
}

// onRoad puts the drill's laptop on a road that can be broken.
func (d *drill) onRoad(t *testing.T) *testutil.Road {
	t.Helper()
	road, err := d.Road()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { road.Close() })
	if d.laptop, err = d.Laptop(t.TempDir(), road); err != nil {
		t.Fatal(err)
	}
	return road
}

func drillBlackHole(t *testing.T, d *drill) {
	road := d.onRoad(t)
	d.start(t)
	minute := time.After(time.Minute)
	road.Swallow()
	d.burst(t, 200, 5*time.Second)
	d.told(t, "not synced, trying again")
	<-minute
	road.Open()
	d.told(t, " → ", "in sync at")
	d.equal(t)
}

func drillReset(t *testing.T, d *drill) {
	road := d.onRoad(t)
	d.start(t)
	for range 5 {
		d.burst(t, 20, 200*time.Millisecond)
		road.Cut()
	}
	d.write(t, "last", 10)
	d.told(t, " → ")
	d.equal(t)
}

// drillAPIServer has nothing to break in a cluster that is not the harness's.
func drillAPIServer(t *testing.T, d *drill) {
	if !d.OwnCluster() {
		t.Log("the cluster is not ours to break: this is the reset connection once more")
		drillReset(t, d)
		return
	}
	d.start(t)
	done := make(chan error, 1)
	go func() { done <- d.RestartAPIServer(context.WithoutCancel(t.Context())) }()
	d.burst(t, 20, 4*time.Second)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.write(t, "last", 10)
	d.told(t, " → ")
	d.equal(t)
}

func drillAsleep(t *testing.T, d *drill) {
	d.start(t)
	if err := d.sync.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d.burst(t, 20, 20*time.Second)
	if err := d.sync.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	d.told(t, " → ")
	d.equal(t)
}

func drillTwoLaptops(t *testing.T, d *drill) {
	d.start(t)
	other := newDrill(t, d.system, d.service, filepath.Join(t.TempDir()))
	if err := os.CopyFS(other.dir, os.DirFS(d.dir)); err != nil {
		t.Fatal(err)
	}
	var err error
	if other.laptop, err = d.Laptop(t.TempDir(), nil); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"sync", d.service, other.dir}, {"sync", d.service, other.dir, "--once"}} {
		_, err := other.laptop.FMC(t.Context(), append(args, "-n", devspace)...)
		if err == nil || !strings.Contains(err.Error(), "is being synced by") || !strings.Contains(err.Error(), "--take-over") {
			t.Errorf("%v beside a sync: %v, want that it names the holder and the way out", args, err)
		}
	}
	if out := d.fmc(t, "status", d.service, "-n", devspace); !strings.Contains(out, "synced by ") {
		t.Errorf("status does not say who syncs:\n%s", out)
	}
	other.write(t, "theirs", 100)
	other.start(t, "--take-over")
	d.told(t, "took over the sync of "+d.service)
	if code, err := d.sync.ExitCode(20 * time.Second); err != nil || code == 0 {
		t.Errorf("the sync that was taken over ended with %d, %v", code, err)
	}
	d.sync = nil
	other.equal(t)
	other.write(t, "more", 100)
	other.equal(t)
	other.stop(t)
	if out := d.fmc(t, "status", d.service, "-n", devspace); strings.Contains(out, "synced by ") {
		t.Errorf("after its end status still says who syncs:\n%s", out)
	}
	d.start(t) // the lease is free again, and the first laptop's tree comes back
	d.write(t, "mine", 100)
	d.equal(t)
}

func drillPodWhileOff(t *testing.T, d *drill) {
	d.start(t)
	d.write(t, "before", 100)
	d.equal(t)
	d.stop(t)
	d.kubectl(t, "delete", "pod", "-n", devspace, "-l", api.LabelService+"="+d.service)
	d.kubectl(t, "rollout", "status", "-n", devspace, "deployment/"+d.service, "--timeout=90s")
	d.equal(t)
}

func drillHubWhileOff(t *testing.T, d *drill) {
	d.kubectl(t, "delete", "pod", "-n", devspace, "-l", api.LabelName+"="+api.HubName)
	d.kubectl(t, "rollout", "status", "-n", devspace, "deployment/"+api.HubName, "--timeout=90s")
	d.write(t, "meanwhile", 100)
	d.start(t)
	d.equal(t)
}

// drillDiskFull gives a service 8 MiB for its code.
func drillDiskFull(t *testing.T, s *system) {
	above := t.TempDir()
	d := newDrill(t, s, "small", above)
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(d.dir, "kept.txt"), "kept")
	definition := filepath.Join(above, "fmc.yaml")
	write(t, definition, `services:
  small:
    path: ./small
    image: `+s.Images.Python+`
    command: [sleep, "1000000"]
    patches:
      - {kind: Deployment, patch: {op: add, path: /spec/template/spec/volumes, value: [{name: code, emptyDir: {medium: Memory, sizeLimit: 8Mi}}]}}
      - {kind: Deployment, patch: {op: add, path: /spec/template/spec/containers/0/volumeMounts, value: [{name: code, mountPath: /app}]}}
`)
	s.fmc(t, "deploy", d.service, "-f", definition, "-n", devspace)
	t.Cleanup(func() {
		s.Kubectl(context.WithoutCancel(t.Context()), "delete", "deployment", "-n", devspace, d.service)
	})
	d.start(t)
	d.write(t, "large", 20<<20)
	d.told(t, "8.0 MiB in all")
	s.waitFile(t, d.service, "kept.txt", "kept")
	s.waitFile(t, d.service, "drill/large", "")
	if err := os.RemoveAll(filepath.Join(d.dir, "drill")); err != nil {
		t.Fatal(err)
	}
	d.told(t, "runs ")
	d.equal(t)
}
