//go:build e2e

// Package e2e tests the whole system on a real cluster, through the plugin as
// its users run it. TestSystem goes from nothing to nothing: what comes first
// is needed by what comes after, so the subtests run in order and the first
// three end the test if they fail.
package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/e2e/harness"
	"github.com/formicarium/formicarium/internal/api"
)

// devspace is the one that TestSystem makes.
const devspace = "fmc-e2e"

// system is what the subtests share.
type system struct {
	*harness.Harness
	shop string // a copy of examples/shop, free to be edited
}

func TestSystem(t *testing.T) {
	home := t.TempDir()
	h, err := harness.Open(t.Context(), harness.Options{Out: testWriter{t}, Home: home})
	if err != nil {
		t.Fatal(err)
	}
	s := &system{Harness: h, shop: filepath.Join(t.TempDir(), "shop")}
	if err := os.CopyFS(s.shop, os.DirFS(filepath.Join(h.Root, "examples", "shop"))); err != nil {
		t.Fatal(err)
	}
	for _, stage := range []struct {
		name string
		test func(*testing.T, *system)
	}{
		{"Install", testInstall},
		{"DevspaceCreate", testDevspaceCreate},
		{"Deploy", testDeploy},
	} {
		if !s.stage(t, stage.name, stage.test) {
			t.FailNow()
		}
	}
	for _, stage := range []struct {
		name string
		test func(*testing.T, *system)
	}{
		{"NothingIsExposed", testNothingIsExposed},
		{"TraceSpansServices", testTrace},
		{"Graph", testGraph},
		{"Status", testStatus},
		{"Logs", testLogs},
		{"Restart", testRestart},
		{"EditDeleteRename", testEdits},
		{"FailedBuildKeepsTheOldProcess", testFailedBuild},
		{"RealGit", testRealGit},
		{"Locked", testLocked},
		{"PodReplaced", testPodReplaced},
		{"Lost", testLost},
		{"HubReplaced", testHubReplaced},
		{"Redeploy", testRedeploy},
		{"AnnotatedPods", testAnnotatedPods},
		{"Probes", testProbes},
		{"Settings", testSettings},
		{"JobEnds", testJobEnds},
		{"InjectManifests", testInjectManifests},
		{"CheckAndExplain", testCheckAndExplain},
		{"Repair", testRepair},
		{"ExitCodeStays", testExitCodeStays},
		{"EveryWorkload", testEveryWorkload},
		{"Chambers", testChambers},
		{"ChamberAnyUser", testChamberAnyUser},
		{"ChamberReloadsInPlace", testChamberReloadsInPlace},
		{"ClojureReloadsInPlace", testClojureReloads},
		{"HandOver", testHandOver},
		{"OwnChamber", testOwnChamber},
		{"Cache", testCache},
		{"Undeploy", testUndeploy},
		{"WebhookDown", testWebhookDown},
		{"DevspaceDelete", testDevspaceDelete},
		{"Uninstall", testUninstall},
	} {
		s.stage(t, stage.name, stage.test)
	}
}

// stage runs one part. What the cluster says of a failure is asked at once: the
// stages to come change it, and the last ones leave nothing of it.
func (s *system) stage(t *testing.T, name string, test func(*testing.T, *system)) bool {
	return t.Run(name, func(t *testing.T) {
		t.Cleanup(func() { s.collect(t) })
		test(t, s)
	})
}

// fmc runs the plugin and fails the test if it fails.
func (s *system) fmc(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.FMC(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kubectl runs kubectl and fails the test if it fails.
func (s *system) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// front asks the shop's first service.
func (s *system) front(ctx context.Context) (harness.Answer, error) {
	return s.Get(ctx, devspace, "front", 8080, "/?order=42")
}

// orders asks the second service directly.
func (s *system) orders(ctx context.Context) (harness.Answer, error) {
	return s.Get(ctx, devspace, "orders", 8080, "/orders/42")
}

// holds is satisfied by a 200 whose body holds part.
func holds(part string) func(harness.Answer) bool {
	return func(a harness.Answer) bool { return a.Status == 200 && strings.Contains(a.Body, part) }
}

// edit replaces old by new in a file of the shop.
func (s *system) edit(t *testing.T, name, old, new string) {
	t.Helper()
	path := filepath.Join(s.shop, name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s lacks %q", name, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sync starts `fmc sync` for a service and waits until it is in sync. It is
// stopped with the test.
func (s *system) sync(t *testing.T, service string) *harness.Background {
	t.Helper()
	b, err := s.Start(context.WithoutCancel(t.Context()), "sync", service, filepath.Join(s.shop, service), "-n", devspace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Errorf("stopping the sync: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := b.WaitLine(ctx, "in sync", " → "); err != nil {
		t.Fatal(err)
	}
	return b
}

// collect shows what the cluster says where a test failed.
func (s *system) collect(t *testing.T) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "events", "-n", devspace, "--sort-by=.lastTimestamp"},
		{"logs", "-n", devspace, "deployment/" + api.HubName, "--tail=40"},
		{"logs", "-n", devspace, "-l", "formicarium.io/service", "--all-containers", "--tail=20", "--prefix"},
		{"logs", "-n", "fmc-system", "-l", api.LabelName + "=webhook", "--tail=20", "--prefix"},
	} {
		s.Kubectl(ctx, args...)
	}
}

// testWriter writes to a test's log, line by line.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
