package devspace

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace/definition"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	k8stesting "k8s.io/client-go/testing"
)

// collectGarbage does what a cluster does when a Deployment is deleted, and
// brings the fakes' two stores together.
func collectGarbage(client *Client) {
	client.Dynamic.(*dynamicfake.FakeDynamicClient).PrependReactor("delete", "deployments", func(action k8stesting.Action) (bool, runtime.Object, error) {
		name := action.(k8stesting.DeleteAction).GetName()
		ctx := context.Background()
		client.Kube.AppsV1().Deployments("mine").Delete(ctx, name, metav1.DeleteOptions{})
		pods, err := client.Kube.CoreV1().Pods("mine").List(ctx, metav1.ListOptions{LabelSelector: managed + "," + serviceSelector(name)})
		if err != nil {
			return true, nil, err
		}
		for _, pod := range pods.Items {
			client.Kube.CoreV1().Pods("mine").Delete(ctx, pod.Name, metav1.DeleteOptions{})
		}
		return false, nil, nil
	})
}

func configMap(name string, labels map[string]string, owners ...metav1.OwnerReference) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "mine", Labels: labels, OwnerReferences: owners}}
}

func volumeClaim(name string, labels map[string]string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "mine", Labels: labels}}
}

// two are services orders and stock with all that a deploy makes, and what must
// stay.
func two() []runtime.Object {
	yes := true
	orders, stock := definition.Labels("mine", "orders"), definition.Labels("mine", "stock")
	objects := append(deployment("orders", 1), deployment("stock", 1)...)
	return append(objects, mine(), hubPod(),
		servicePod("orders", "orders-1", corev1.ConditionTrue), servicePod("stock", "stock-1", corev1.ConditionTrue),
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "orders", Namespace: "mine", Labels: orders}},
		configMap("orders", orders), volumeClaim("orders-cache", orders), configMap("stock", stock),
		// Not theirs, or not alone theirs.
		volumeClaim(definition.SharedCache, map[string]string{api.LabelManagedBy: api.FieldManager, api.LabelDevspace: "mine"}),
		configMap("by-hand", map[string]string{api.LabelService: "orders"}),
		configMap("copied", orders, metav1.OwnerReference{Kind: "Deployment", Name: "else", UID: "7", Controller: &yes}),
	)
}

// fakeHub has repositories, and deletes them.
type fakeHub struct {
	repositories []string
	down         atomic.Bool
}

func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.down.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.Method == http.MethodDelete {
		h.repositories = slices.DeleteFunc(h.repositories, func(name string) bool { return r.URL.Path == "/api/repositories/"+name })
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var list api.RepositoryList
	for _, name := range h.repositories {
		list.Repositories = append(list.Repositories, api.Repository{Name: name})
	}
	answer(list)(w, r)
}

func undeploying(t *testing.T, objects ...runtime.Object) (*Client, *fakeHub) {
	hub := &fakeHub{repositories: []string{"orders", "stock"}}
	client := fakeClient(t, pods{"tanajura-1/3002": hub.ServeHTTP}, objects...)
	collectGarbage(client)
	return client, hub
}

func mustUndeploy(t *testing.T, client *Client, keepCache bool, names ...string) ([]Undeployed, string) {
	t.Helper()
	plan, err := client.PlanUndeploy(t.Context(), "mine", names, keepCache)
	if err != nil {
		t.Fatal(err)
	}
	var out testutil.Buffer
	undeployed, err := client.Undeploy(t.Context(), "mine", plan, &out)
	if err != nil {
		t.Fatalf("Undeploy = %v, printed %s", err, out.String())
	}
	return undeployed, out.String()
}

// names are those of all objects that an undeploy might take.
func names(t *testing.T, client *Client) []string {
	t.Helper()
	var names []string
	for _, kind := range serviceKinds {
		found, err := client.Dynamic.Resource(kinds[kind].resource).Namespace("mine").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range found.Items {
			names = append(names, strings.ToLower(kind)+"/"+object.GetName())
		}
	}
	slices.Sort(names)
	return names
}

func TestUndeployRemovesWhatDeployMadeAndNothingElse(t *testing.T) {
	client, hub := undeploying(t, two()...)
	undeployed, out := mustUndeploy(t, client, false, "orders")
	want := []string{"deployment/orders", "service/orders", "configmap/orders", "persistentvolumeclaim/orders-cache", "repository/orders"}
	if len(undeployed) != 1 || !slices.Equal(undeployed[0].Deleted, want) {
		t.Errorf("undeployed %+v, want %v deleted", undeployed, want)
	}
	if !strings.Contains(out, "deleted deployment/orders\n") || !strings.Contains(out, "orders is gone (") {
		t.Errorf("printed %s", out)
	}
	left := []string{"configmap/by-hand", "configmap/copied", "configmap/stock", "deployment/stock", "persistentvolumeclaim/fmc-cache"}
	if got := names(t, client); !slices.Equal(got, left) {
		t.Errorf("left %v, want %v", got, left)
	}
	if !slices.Equal(hub.repositories, []string{"stock"}) {
		t.Errorf("the hub has %v", hub.repositories)
	}
	_, err := client.PlanUndeploy(t.Context(), "mine", []string{"orders"}, false)
	wantError(t, "a second undeploy", err, "no service orders in devspace mine: it has stock")
}

// Whatever a definition makes is of a kind that an undeploy looks for.
func TestUndeployKnowsAllKindsOfADeploy(t *testing.T) {
	service, err := definition.New("orders", "image", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := service.AddPort(8080); err != nil {
		t.Fatal(err)
	}
	service.Scripts = map[string]string{"start": "true"}
	service.Cache = &definition.Cache{}
	objects, err := service.Objects("mine")
	if err != nil || len(objects) != len(serviceKinds) {
		t.Fatalf("%d objects, %v; want one of each of %v", len(objects), err, serviceKinds)
	}
	for _, object := range objects {
		if !slices.Contains(serviceKinds, object.GetKind()) {
			t.Errorf("%s is left by an undeploy", objectName(object))
		}
	}
}

func TestUndeployKeepsTheCache(t *testing.T) {
	client, _ := undeploying(t, two()...)
	undeployed, out := mustUndeploy(t, client, true, "orders")
	if !slices.Equal(undeployed[0].Kept, []string{"persistentvolumeclaim/orders-cache"}) || !strings.Contains(out, "kept persistentvolumeclaim/orders-cache") {
		t.Errorf("undeployed %+v, printed %s", undeployed, out)
	}
	_, err := client.PlanUndeploy(t.Context(), "mine", []string{"orders"}, true)
	wantError(t, "to keep it again", err, "no service orders")
	undeployed, _ = mustUndeploy(t, client, false, "orders")
	if !slices.Equal(undeployed[0].Deleted, []string{"persistentvolumeclaim/orders-cache"}) {
		t.Errorf("then deleted %v", undeployed[0].Deleted)
	}
}

// All names are looked at before anything is deleted, and all faults are told.
func TestUndeployChecksAllFirst(t *testing.T) {
	client, hub := undeploying(t, two()...)
	before := names(t, client)
	_, err := client.PlanUndeploy(t.Context(), "mine", []string{"orders", "nope", "No"}, false)
	wantError(t, "plan", err, "no service nope in devspace mine: it has orders, stock", `service name "No"`)
	if after := names(t, client); !slices.Equal(before, after) || len(hub.repositories) != 2 {
		t.Errorf("%v became %v", before, after)
	}
	empty, _ := undeploying(t, mine())
	_, err = empty.PlanUndeploy(t.Context(), "mine", []string{"nope"}, false)
	wantError(t, "an empty devspace", err, "it has none")
}

func TestUndeployLeavesOthersAlone(t *testing.T) {
	injected := servicePod("shop", "shop-1", corev1.ConditionTrue)
	delete(injected.Labels, api.LabelManagedBy)
	theirs := deployment("theirs", 1)
	theirs[0].(metav1.Object).SetLabels(nil)
	hubs := deployment(api.HubName, 1)
	hubs[0].(metav1.Object).SetLabels(map[string]string{api.LabelManagedBy: api.FieldManager})
	client, _ := undeploying(t, append(append(two(), injected, theirs[0]), hubs[0])...)
	for name, parts := range map[string][]string{
		"shop":      {"pod shop-1", "only injected", "kubectl fmc uninject", "kubectl -n mine delete"},
		"theirs":    {"deployment/theirs was not made by kubectl fmc deploy", "kubectl -n mine delete deployment theirs"},
		api.HubName: {"a part of the devspace"},
	} {
		_, err := client.PlanUndeploy(t.Context(), "mine", []string{"orders", name}, false)
		wantError(t, name, err, parts...)
	}
}

// The repository that somebody else's pod runs stays, too.
func TestUndeployLeavesARepositoryThatOthersRun(t *testing.T) {
	injected := servicePod("orders", "others-1", corev1.ConditionTrue)
	delete(injected.Labels, api.LabelManagedBy)
	client, hub := undeploying(t, append(two(), injected)...)
	_, out := mustUndeploy(t, client, false, "orders")
	if !strings.Contains(out, "pod others-1") || !slices.Contains(hub.repositories, "orders") {
		t.Errorf("printed %s; the hub has %v", out, hub.repositories)
	}
}

// What kubectl left is removed as well.
func TestUndeployOfRemains(t *testing.T) {
	client, hub := undeploying(t, mine(), hubPod())
	undeployed, _ := mustUndeploy(t, client, false, "orders")
	if !slices.Equal(undeployed[0].Deleted, []string{"repository/orders"}) || slices.Contains(hub.repositories, "orders") {
		t.Errorf("deleted %v; the hub has %v", undeployed[0].Deleted, hub.repositories)
	}
}

// An undeploy that is cut off says what it waited for.
func TestUndeployWaitsForPods(t *testing.T) {
	client, _ := undeploying(t, two()...)
	plan, err := client.PlanUndeploy(t.Context(), "mine", []string{"orders"}, false)
	if err != nil {
		t.Fatal(err)
	}
	client.Dynamic.(*dynamicfake.FakeDynamicClient).PrependReactor("delete", "deployments", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, nil // nothing that it owns goes
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = client.Undeploy(ctx, "mine", plan, io.Discard)
	wantError(t, "undeploy", err, "waiting for pod/orders-1 to be gone", "goes on by itself", "kubectl -n mine get pods,pvc")
}

// Where the hub does not answer all else goes, and the lease stays, by which a
// later run finds the service and ends.
func TestUndeployWithoutHub(t *testing.T) {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "fmc-sync-orders", Namespace: "mine", Labels: definition.Labels("mine", "orders")}}
	client, hub := undeploying(t, append(two(), lease)...)
	plan, err := client.PlanUndeploy(t.Context(), "mine", []string{"orders", "stock"}, false)
	if err != nil {
		t.Fatal(err)
	}
	hub.down.Store(true)
	undeployed, err := client.Undeploy(t.Context(), "mine", plan, io.Discard)
	wantError(t, "undeploy", err, "undeploying orders (the same command again goes on with it): asking the hub", "undeploying stock")
	if len(undeployed) != 2 || !slices.Contains(undeployed[0].Deleted, "deployment/orders") || !slices.Contains(undeployed[1].Deleted, "deployment/stock") {
		t.Errorf("undeployed %+v", undeployed)
	}
	hub.down.Store(false)
	undeployed, out := mustUndeploy(t, client, false, "orders")
	if want := []string{"repository/orders", "lease/fmc-sync-orders"}; !slices.Equal(undeployed[0].Deleted, want) || undeployed[0].EndedSync != nil {
		t.Errorf("then deleted %+v, want %v; printed %s", undeployed[0], want, out)
	}
}
