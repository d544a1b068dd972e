package devspace

import (
	"net/http"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	corev1 "k8s.io/api/core/v1"
)

func TestStatusComparesPodsWithTheHub(t *testing.T) {
	foreign := servicePod("orders", "foreign", corev1.ConditionTrue) // the webhook marked it
	delete(foreign.Labels, api.LabelManagedBy)
	objects := append(deployment("orders", 1), foreign, servicePod("orders", "orders-1", corev1.ConditionTrue), servicePod("orders", "orders-2", corev1.ConditionTrue), hubPod(), mine())
	client := fakeClient(t, pods{
		"tanajura-1/3002": answer(api.RepositoryList{Repositories: []api.Repository{{Name: "orders", Head: "aaaaaaaaaa"}}}),
		"orders-1/24000":  answer(api.StingerStatus{Commit: "aaaaaaaaaa", State: api.StateRunning}),
		"orders-2/24000":  answer(api.StingerStatus{Commit: "bbbbbbbbbb", State: api.StateBackoff, LastExit: "exit 1"}),
	}, objects...)
	status, err := client.Status(t.Context(), "mine", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(status.Services) != 1 || len(status.Services[0].Pods) != 2 || status.HubError != "" {
		t.Fatalf("status = %+v", status)
	}
	service := status.Services[0]
	if service.InSync {
		t.Error("a service with a pod that runs an older commit is in sync")
	}
	for _, pod := range service.Pods {
		c := pod.Containers[0]
		if want := pod.Name == "orders-1"; c.InSync != want || !pod.Netra {
			t.Errorf("%s: in sync %v, want %v", pod.Name, c.InSync, want)
		}
	}
}

// A Stinger has applied the head before it builds and starts it.
func TestStatusTakesNoAppliedCommitForWhatRuns(t *testing.T) {
	const head = "aaaaaaaaaa"
	for want, status := range map[string]api.StingerStatus{
		"build failed": {Commit: head, State: api.StateRunning, LastError: "building: exit 2"},
		"crashed":      {Commit: head, State: api.StateBackoff, LastExit: "exit 1"},
		"building":     {Commit: head, State: api.StateBuilding},
	} {
		client := fakeClient(t, pods{
			"tanajura-1/3002": answer(api.RepositoryList{Repositories: []api.Repository{{Name: "orders", Head: head}}}),
			"orders-1/24000":  answer(status),
		}, append(deployment("orders", 1), servicePod("orders", "orders-1", corev1.ConditionTrue), hubPod(), mine())...)
		got, err := client.Status(t.Context(), "mine", "orders")
		if err != nil {
			t.Fatal(err)
		}
		if s := got.Services[0]; s.InSync || s.Pods[0].Containers[0].InSync {
			t.Errorf("%s: in sync", want)
		}
	}
}

func TestStatusWithoutHub(t *testing.T) {
	objects := append(deployment("orders", 1), servicePod("orders", "orders-1", corev1.ConditionTrue), mine())
	client := fakeClient(t, pods{"orders-1/24000": answer(api.StingerStatus{})}, objects...)
	status, err := client.Status(t.Context(), "mine", "orders")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(status.HubError, "the hub of devspace mine is not ready") {
		t.Errorf("HubError = %q", status.HubError)
	}
	// It is the hub that says to Stingers who is a developer.
	if c := status.Services[0].Pods[0].Containers[0]; !strings.Contains(c.Error, "the hub of devspace mine is not ready") {
		t.Errorf("container = %+v, want the reason", c)
	}
	if _, err := client.Status(t.Context(), "mine", "nobody"); err == nil || !strings.Contains(err.Error(), "kubectl fmc deploy nobody") {
		t.Errorf("status of a service that is not there = %v", err)
	}
}

func TestStatusTellsStingersReason(t *testing.T) {
	client := fakeClient(t, pods{"orders-1/24000": func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":"busy"}`, http.StatusInternalServerError)
	}}, append(deployment("orders", 1), servicePod("orders", "orders-1", corev1.ConditionTrue), mine(), hubPod())...)
	status, err := client.Status(t.Context(), "mine", "orders")
	if err != nil {
		t.Fatal(err)
	}
	if c := status.Services[0].Pods[0].Containers[0]; !strings.Contains(c.Error, "busy") {
		t.Errorf("container = %+v, want Stinger's reason", c)
	}
}
