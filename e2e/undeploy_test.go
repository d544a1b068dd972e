//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// testUndeploy takes one service back out while it is being synced: the sync ends
// and says so, nothing of the service is left, and all else is as it was.
func testUndeploy(t *testing.T, s *system) {
	const service = "leaver"
	dir := s.chamberDir(t, "python")
	s.fmc(t, "deploy", service, dir, "-n", devspace, "--port", "8080")
	s.answers(t, service, "hello from python")
	s.kubectl(t, "create", "configmap", "by-hand", "-n", devspace)
	t.Cleanup(func() { s.remove(t, "configmap", "by-hand", "-n", devspace) })
	s.kubectl(t, "label", "configmap", "by-hand", "-n", devspace, api.LabelService+"="+service)
	sync, err := s.Start(context.WithoutCancel(t.Context()), "sync", service, dir, "-n", devspace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sync.Signal(os.Interrupt) }) // where it goes on, after a failure
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := sync.WaitLine(ctx, "in sync", " → "); err != nil {
		t.Fatal(err)
	}

	if _, err := s.FMC(t.Context(), "undeploy", service, "nope", "-n", devspace, "--yes"); err == nil || !strings.Contains(err.Error(), "no service nope in devspace") {
		t.Errorf("an unknown name: %v", err)
	}
	if _, err := s.FMC(t.Context(), "undeploy", service, "-n", devspace); err == nil || !strings.Contains(err.Error(), "give --yes") {
		t.Errorf("without --yes: %v", err)
	}
	s.answers(t, service, "hello from python")

	var told struct {
		Services []struct {
			Service   string
			Deleted   []string
			EndedSync *struct{ Holder string }
		}
	}
	if err := json.Unmarshal([]byte(s.fmc(t, "undeploy", service, "-n", devspace, "--yes", "-o", "json")), &told); err != nil {
		t.Fatal(err)
	}
	want := []string{"deployment/leaver", "service/leaver", "configmap/leaver", "repository/leaver", "lease/fmc-sync-leaver"}
	if len(told.Services) != 1 || !slices.Equal(told.Services[0].Deleted, want) || told.Services[0].EndedSync == nil {
		t.Errorf("undeploy told %+v, want %v and the end of a sync", told, want)
	}
	if _, err := sync.WaitLine(ctx, "undeployed "+service, service+" was undeployed"); err != nil {
		t.Error(err)
	}
	if code, err := sync.ExitCode(time.Minute); err != nil || code == 0 {
		t.Errorf("the sync ended with %d, %v; want a failure", code, err)
	}
	left := strings.Fields(s.kubectl(t, "get", "deployment,replicaset,pod,service,configmap,pvc,lease", "-n", devspace, "-l", api.LabelService+"="+service, "-o", "name"))
	// A ReplicaSet goes in the background, after its pods.
	left = slices.DeleteFunc(left, func(name string) bool { return strings.HasPrefix(name, "replicaset") })
	if !slices.Equal(left, []string{"configmap/by-hand"}) {
		t.Errorf("left %v, want what was made by hand alone", left)
	}
	if said, err := s.Git(t.Context(), devspace, "ls-remote", "fmc:"+service); err == nil {
		t.Errorf("the hub still has its repository:\n%s", said)
	}
	if _, _, err := s.Until(t.Context(), time.Minute, s.front, holds("")); err != nil {
		t.Errorf("the shop: %v", err)
	}

	// The name is free again.
	s.fmc(t, "deploy", service, dir, "-n", devspace, "--port", "8080")
	s.answers(t, service, "hello from python")
	s.undeploy(t, service)
}
