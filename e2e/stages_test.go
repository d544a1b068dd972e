//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/e2e/harness"
	"github.com/formicarium/formicarium/internal/api"
)

// testInstall installs twice: the second run is an update that changes nothing
// for anybody.
func testInstall(t *testing.T, s *system) {
	s.checkEmpty(t)
	s.fmc(t, s.InstallArgs()...)
	s.fmc(t, s.InstallArgs()...)
	webhook, err := s.Clients.AppsV1().Deployments(api.SystemNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ready := map[string]int32{}
	for _, d := range webhook.Items {
		ready[d.Name] = d.Status.ReadyReplicas
	}
	if ready["webhook"] != 2 || ready["jaeger"] != 1 {
		t.Errorf("ready replicas are %v, want 2 of webhook and 1 of jaeger", ready)
	}
}

// checkEmpty refuses a cluster in which somebody works: the last stage takes
// everything of Formicarium's away. The demo's devspace is the exception.
func (s *system) checkEmpty(t *testing.T) {
	t.Helper()
	namespaces, err := s.Clients.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: api.LabelDevspace})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range namespaces.Items {
		if n.Name != devspace && n.Name != otherspace && n.Name != "demo" {
			t.Fatalf("the cluster has the devspace %s, which these tests would delete: use another cluster", n.Name)
		}
	}
}

func testDevspaceCreate(t *testing.T, s *system) {
	s.fmc(t, "devspace", "create", devspace)
	if list := s.fmc(t, "devspace", "list"); !strings.Contains(list, devspace) {
		t.Errorf("devspace list lacks %s:\n%s", devspace, list)
	}
	if _, err := s.FMC(t.Context(), "devspace", "create", "kube-system"); err == nil {
		t.Error("devspace create adopted kube-system")
	}
}

func testDeploy(t *testing.T, s *system) {
	definition := filepath.Join(s.shop, "fmc.yaml")
	s.fmc(t, "deploy", "stock", "-f", definition, filepath.Join(s.shop, "stock"))
	s.fmc(t, "deploy", "-f", definition) // the rest, and stock once more
	answer, _, err := s.Until(t.Context(), time.Minute, s.front, holds(`"left":7`))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("front answers %s in %s", strings.TrimSpace(answer.Body), answer.Took)
}

// testNothingIsExposed looks for every way in from outside the cluster.
func testNothingIsExposed(t *testing.T, s *system) {
	for _, namespace := range []string{devspace, api.SystemNamespace} {
		services, err := s.Clients.CoreV1().Services(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, service := range services.Items {
			if service.Spec.Type != "ClusterIP" || len(service.Spec.ExternalIPs) > 0 {
				t.Errorf("service %s/%s is a %s with external addresses %v", namespace, service.Name, service.Spec.Type, service.Spec.ExternalIPs)
			}
		}
		ingresses, err := s.Clients.NetworkingV1().Ingresses(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(ingresses.Items) > 0 {
			t.Errorf("%s has ingresses: %v", namespace, ingresses.Items)
		}
		pods, err := s.Clients.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) == 0 {
			t.Errorf("%s has no pods to look at", namespace)
		}
		for _, pod := range pods.Items {
			for _, c := range append(pod.Spec.Containers, pod.Spec.InitContainers...) {
				for _, port := range c.Ports {
					if port.HostPort != 0 {
						t.Errorf("pod %s/%s container %s has host port %d", namespace, pod.Name, c.Name, port.HostPort)
					}
				}
			}
			if pod.Spec.HostNetwork {
				t.Errorf("pod %s/%s is on the host's network", namespace, pod.Name)
			}
		}
	}
}

func testTrace(t *testing.T, s *system) {
	since := time.Now()
	if _, err := s.front(t.Context()); err != nil {
		t.Fatal(err)
	}
	trace, err := s.WaitTrace(t.Context(), devspace, since, 30*time.Second, "front", "orders", "stock")
	if err != nil {
		t.Fatal(err)
	}
	if err := trace.CheckChain("front", "orders", "stock"); err != nil {
		t.Error(err)
	}
}

func testGraph(t *testing.T, s *system) {
	before, err := s.Graph(t.Context(), devspace)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.front(t.Context()); err != nil {
		t.Fatal(err)
	}
	edges, err := s.Graph(t.Context(), devspace)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []harness.Edge{{From: "front", To: "orders"}, {From: "orders", To: "stock"}} {
		if edges[want] != before[want]+1 {
			t.Errorf("after one request more the graph counts %v of %s → %s, not %v", edges[want], want.From, want.To, before[want]+1)
		}
	}
	for edge := range edges {
		if edge.To == api.HubName {
			t.Errorf("the graph shows Formicarium's own traffic: %s → %s", edge.From, edge.To)
		}
	}
}

func testStatus(t *testing.T, s *system) {
	var status struct {
		Services []struct {
			Name   string
			InSync bool
			Pods   []struct {
				Netra      bool
				Containers []api.StingerStatus
			}
		}
	}
	if err := json.Unmarshal([]byte(s.fmc(t, "status", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Services) != 3 {
		t.Fatalf("status shows %d services, want 3: %+v", len(status.Services), status)
	}
	for _, service := range status.Services {
		if !service.InSync || len(service.Pods) != 1 {
			t.Errorf("service %s: %+v, want it in sync with one pod", service.Name, service)
			continue
		}
		pod := service.Pods[0]
		if !pod.Netra || len(pod.Containers) != 1 || pod.Containers[0].State != api.StateRunning {
			t.Errorf("service %s: pod %+v, want netra and one running container", service.Name, pod)
		}
	}
}

func testLogs(t *testing.T, s *system) {
	if out := s.fmc(t, "logs", "orders"); !strings.Contains(out, "orders listens on 8080") {
		t.Errorf("logs of orders:\n%s", out)
	}
}

func testRestart(t *testing.T, s *system) {
	before := s.stinger(t, "orders")
	s.fmc(t, "restart", "orders")
	after := s.stinger(t, "orders")
	if after.PID == before.PID || after.State != api.StateRunning {
		t.Errorf("after restart the process is %d and %s; it was %d", after.PID, after.State, before.PID)
	}
	if _, _, err := s.Until(t.Context(), 20*time.Second, s.front, holds(`"left":7`)); err != nil {
		t.Error(err)
	}
}

// testEdits follows an edit, a new file, a rename and a deletion into the pod.
func testEdits(t *testing.T, s *system) {
	s.sync(t, "orders")
	s.edit(t, "orders/app.py", "thank you for your order", "edited once")
	saved := time.Now()
	_, seen, err := s.Until(t.Context(), 20*time.Second, s.orders, holds("edited once"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("save → new answer: %s", seen.Sub(saved).Round(time.Millisecond))

	dir := filepath.Join(s.shop, "orders")
	if err := os.MkdirAll(filepath.Join(dir, "lib", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "lib", "deep", "note one.txt"), "first")
	s.waitFile(t, "orders", "lib/deep/note one.txt", "first")
	if err := os.Rename(filepath.Join(dir, "lib", "deep", "note one.txt"), filepath.Join(dir, "lib", "note.txt")); err != nil {
		t.Fatal(err)
	}
	s.waitFile(t, "orders", "lib/note.txt", "first")
	s.waitFile(t, "orders", "lib/deep/note one.txt", "")
	if err := os.RemoveAll(filepath.Join(dir, "lib")); err != nil {
		t.Fatal(err)
	}
	s.waitFile(t, "orders", "lib/note.txt", "")
}

// testFailedBuild breaks stock's source: the old program goes on and the
// developer sees the compiler's words; the mended source runs.
func testFailedBuild(t *testing.T, s *system) {
	sync := s.sync(t, "stock")
	s.edit(t, "stock/main.go", `"left": 7`, `"left": seven`)
	waiting, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := sync.WaitLine(waiting, "undefined: seven"); err != nil {
		t.Fatal(err)
	}
	if a, err := s.front(t.Context()); err != nil || !holds(`"left":7`)(a) {
		t.Errorf("after a failed build front answers %d %q, %v", a.Status, a.Body, err)
	}
	s.edit(t, "stock/main.go", `"left": seven`, `"left": 8`)
	if _, _, err := s.Until(t.Context(), time.Minute, s.front, holds(`"left":8`)); err != nil {
		t.Error(err)
	}
}

func testPodReplaced(t *testing.T, s *system) {
	s.kubectl(t, "delete", "pod", "-n", devspace, "-l", api.LabelService+"=orders", "--wait=false")
	s.kubectl(t, "rollout", "status", "-n", devspace, "deployment/orders", "--timeout=90s")
	if _, _, err := s.Until(t.Context(), 30*time.Second, s.front, holds("edited once")); err != nil {
		t.Errorf("the new pod does not run what the old one did: %v", err)
	}
}

// testHubReplaced loses the hub and everything on it: what runs goes on, and
// the next sync fills the new one.
func testHubReplaced(t *testing.T, s *system) {
	s.kubectl(t, "scale", "-n", devspace, "deployment/"+api.HubName, "--replicas=0")
	s.kubectl(t, "wait", "-n", devspace, "--for=delete", "pod", "-l", api.LabelName+"="+api.HubName, "--timeout=60s")
	if a, err := s.front(t.Context()); err != nil || a.Status != 200 {
		t.Errorf("without the hub front answers %d, %v", a.Status, err)
	}
	s.kubectl(t, "scale", "-n", devspace, "deployment/"+api.HubName, "--replicas=1")
	s.kubectl(t, "rollout", "status", "-n", devspace, "deployment/"+api.HubName, "--timeout=90s")
	s.sync(t, "orders")
	s.edit(t, "orders/app.py", "edited once", "edited twice")
	if _, _, err := s.Until(t.Context(), 30*time.Second, s.orders, holds("edited twice")); err != nil {
		t.Error(err)
	}
}

// testRedeploy changes the definition: a redeploy is an update.
func testRedeploy(t *testing.T, s *system) {
	definition := filepath.Join(s.shop, "fmc.yaml")
	text, err := os.ReadFile(definition)
	if err != nil {
		t.Fatal(err)
	}
	write(t, definition, strings.Replace(string(text), "      STOCK_URL:", "      COLOUR: green\n      STOCK_URL:", 1))
	s.fmc(t, "deploy", "orders", "-f", definition)
	out := s.kubectl(t, "get", "deployment", "orders", "-n", devspace, "-o", "json")
	if !strings.Contains(out, "COLOUR") {
		t.Error("the redeployed service lacks the new variable")
	}
	if _, _, err := s.Until(t.Context(), 30*time.Second, s.front, holds("edited twice")); err != nil {
		t.Error(err)
	}
}

func testDevspaceDelete(t *testing.T, s *system) {
	s.fmc(t, "devspace", "delete", devspace, "--yes")
	if _, err := s.Clients.CoreV1().Namespaces().Get(t.Context(), devspace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("looking for the namespace after devspace delete: %v, want that there is none", err)
	}
	if left := s.bindings(t, devspace); len(left) > 0 {
		t.Errorf("after devspace delete there are the ClusterRoleBindings %v", left)
	}
}

// testUninstall looks for anything that carries the plugin's label.
func testUninstall(t *testing.T, s *system) {
	s.fmc(t, "uninstall", "--yes")
	for _, kind := range []string{"namespaces", "mutatingwebhookconfigurations", "clusterroles", "clusterrolebindings", "priorityclasses", "deployments", "services", "secrets", "configmaps", "persistentvolumeclaims"} {
		out := s.kubectl(t, "get", kind, "-A", "-l", api.LabelManagedBy+"="+api.FieldManager, "-o", "name")
		if strings.TrimSpace(out) != "" {
			t.Errorf("after uninstall there are %s:\n%s", kind, out)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
