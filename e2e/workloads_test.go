//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/formicarium/formicarium/e2e/harness"
	"github.com/formicarium/formicarium/internal/api"
)

// workload is a kind of workload whose pods ask for everything. Each of its
// containers asks the shop's front once; those that are not of a job then serve.
type workload struct {
	kind string
	// ends is set for those whose pods end by themselves.
	ends bool
	// manifest makes the object around a pod template, which is a JSON object.
	manifest func(name, template string) string
}

var workloads = []workload{
	// First, since it needs the turn of a minute: the rest happens meanwhile.
	{"cronjob", true, func(name, template string) string {
		return fmt.Sprintf(`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":%q},"spec":{"schedule":"* * * * *","concurrencyPolicy":"Forbid","jobTemplate":{"spec":{"backoffLimit":0,"template":%s}}}}`, name, template)
	}},
	{"job", true, func(name, template string) string {
		return fmt.Sprintf(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":%q},"spec":{"backoffLimit":0,"template":%s}}`, name, template)
	}},
	{"deployment", false, func(name, template string) string { return controller("Deployment", name, `"replicas":2,`, template) }},
	{"replicaset", false, func(name, template string) string { return controller("ReplicaSet", name, `"replicas":1,`, template) }},
	{"statefulset", false, func(name, template string) string {
		return controller("StatefulSet", name, `"replicas":1,"serviceName":"none",`, template)
	}},
	{"daemonset", false, func(name, template string) string { return controller("DaemonSet", name, "", template) }},
	{"pod", false, func(name, template string) string { return pod(name, template, "") }},
	// What an operator that nobody knows of makes: a pod that belongs to an
	// object of its own kind.
	{"operator", false, func(name, template string) string {
		return pod(name, template, `"ownerReferences":[{"apiVersion":"example.com/v1","kind":"Widget","name":"w","uid":"OWNER","controller":true}],`)
	}},
}

func controller(kind, name, fields, template string) string {
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":%q,"metadata":{"name":%q},"spec":{%s"selector":{"matchLabels":{"workload":%[2]q}},"template":%[4]s}}`, kind, name, fields, template)
}

func pod(name, template, metadata string) string {
	template = strings.Replace(template, `"metadata":{`, fmt.Sprintf(`"metadata":{"name":%q,%s`, name, metadata), 1)
	return `{"apiVersion":"v1","kind":"Pod",` + strings.TrimPrefix(template, "{")
}

// The application of a workload, in Python. The init container needs the network
// while it is redirected, too.
const (
	askFront = `import urllib.request, time
for attempt in range(60):
    try:
        urllib.request.urlopen("http://front:8080/?order=42", timeout=10).read(); break
    except OSError as e:
        print(e, flush=True); time.sleep(0.5)
else:
    raise SystemExit("front does not answer")
`
	serveHTTP = askFront + `from http.server import HTTPServer, BaseHTTPRequestHandler
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"up")
    def log_message(self, *args): pass
HTTPServer(("", 8080), Handler).serve_forever()
`
)

func (w workload) template() string {
	script, restart := serveHTTP, "Always"
	probe := `,"readinessProbe":{"httpGet":{"path":"/","port":8080},"periodSeconds":1}`
	if w.ends {
		script, restart, probe = askFront, "Never", ""
	}
	return fmt.Sprintf(`{"metadata":{"labels":{"workload":"w-%s","run":"e2e"},"annotations":{%q:%q,%q:"w-%[1]s"}},"spec":{"restartPolicy":%[5]q,"terminationGracePeriodSeconds":20,`+
		`"initContainers":[{"name":"before","image":"PYTHON","command":["python3","-c",%[6]s]}],`+
		`"containers":[{"name":"main","image":"PYTHON","command":["python3","-c",%[7]s]%[8]s}]}}`,
		w.kind, api.AnnotationInject, api.InjectEnabled, api.AnnotationService, restart, quote(askFront), quote(script), probe)
}

// testEveryWorkload starts one of each kind, looks for what its pods asked for
// and for the traces that they make, and takes it away.
func testEveryWorkload(t *testing.T, s *system) {
	owner := s.widget(t)
	defer s.kubectl(t, "delete", "crd", "widgets.example.com")
	since := time.Now()
	for _, w := range workloads {
		manifest := w.manifest("w-"+w.kind, w.template())
		s.kubectl(t, "apply", "-n", devspace, "-f", s.file(t, strings.ReplaceAll(manifest, "OWNER", owner)))
	}
	for i := range workloads {
		w := workloads[(i+1)%len(workloads)] // the cronjob last
		t.Run(w.kind, func(t *testing.T) { s.checkWorkload(t, w, since) })
	}
	for _, w := range workloads {
		kind := map[string]string{"operator": "pod"}[w.kind]
		if kind == "" {
			kind = w.kind
		}
		s.kubectl(t, "delete", kind, "-n", devspace, "w-"+w.kind, "--wait=false")
	}
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, 90*time.Second, true, func(ctx context.Context) (bool, error) {
		pods, err := s.Clients.CoreV1().Pods(devspace).List(ctx, metav1.ListOptions{LabelSelector: "workload"})
		return err == nil && len(pods.Items) == 0, err
	})
	if err != nil {
		t.Errorf("waiting for the workloads' pods to be gone: %v\n%s", err, s.kubectl(t, "get", "pods", "-n", devspace, "-l", "workload"))
	}
}

// widget makes a kind of which the cluster knows nothing, and one object of it,
// whose uid it returns.
func (s *system) widget(t *testing.T) string {
	t.Helper()
	s.apply(t, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Namespaced",`+
		`"names":{"plural":"widgets","singular":"widget","kind":"Widget"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`)
	s.kubectl(t, "wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=30s")
	s.kubectl(t, "apply", "-n", devspace, "-f", s.file(t, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"}}`))
	return strings.TrimSpace(s.kubectl(t, "get", "-n", devspace, "widgets.example.com", "w", "-o", "jsonpath={.metadata.uid}"))
}

func (s *system) checkWorkload(t *testing.T, w workload, since time.Time) {
	var pods []corev1.Pod
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, 150*time.Second, true, func(ctx context.Context) (bool, error) {
		list, err := s.Clients.CoreV1().Pods(devspace).List(ctx, metav1.ListOptions{LabelSelector: "workload=w-" + w.kind})
		if err != nil {
			return false, err
		}
		pods = list.Items
		for _, pod := range pods {
			if w.ends && pod.Status.Phase != corev1.PodSucceeded || !w.ends && !podReady(pod) {
				return false, nil
			}
		}
		return len(pods) > 0, nil
	})
	if err != nil {
		t.Fatalf("waiting for its pods: %v\n%s", err, s.kubectl(t, "describe", "pods", "-n", devspace, "-l", "workload=w-"+w.kind))
	}
	for _, pod := range pods {
		var status api.InjectionStatus
		if err := json.Unmarshal([]byte(pod.Annotations[api.AnnotationStatus]), &status); err != nil {
			t.Fatalf("pod %s: reading its status annotation: %v", pod.Name, err)
		}
		if got := strings.Join(status.Injected, ","); got != "netra,stinger" {
			t.Errorf("pod %s has %q, want netra and stinger: %+v", pod.Name, got, status.Skipped)
		}
	}
	// What front asks in turn cannot be told apart: many ask it at once.
	calls := 0
	err = wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		traces, err := s.Traces(ctx, devspace, "w-"+w.kind, since)
		calls = 0
		for _, trace := range traces {
			calls += answeredCalls(trace, "w-"+w.kind, "front")
		}
		return calls >= 2*len(pods), err // of each init container, and of each application
	})
	if err != nil {
		t.Errorf("waiting for the spans of its calls, of which there are %d from %d pods: %v", calls, len(pods), err)
	}
}

// answeredCalls counts the client spans of one service that have a server span
// of the other below them.
func answeredCalls(trace harness.Trace, from, to string) int {
	callers := map[string]bool{}
	for _, span := range trace.Spans {
		callers[span.ID] = span.Service == from && span.Kind == "client"
	}
	count := 0
	for _, span := range trace.Spans {
		if span.Service == to && span.Kind == "server" && callers[span.Parent] {
			count++
		}
	}
	return count
}

func podReady(pod corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
