//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// late is an application that begins to listen when a file appears.
const late = `
import http.server, os, time
while not os.path.exists("/tmp/listen"):
    time.sleep(0.05)
http.server.ThreadingHTTPServer(("", 8080), http.server.SimpleHTTPRequestHandler).serve_forever()
`

// lateManifest is a Deployment with netra and all ways of asking over the network,
// and a Service for it.
func lateManifest() string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"List","items":[
		{"apiVersion":"v1","kind":"Service","metadata":{"name":"late","namespace":%[1]q},"spec":{"selector":{"app":"late"},"ports":[{"port":8080}]}},
		{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"late","namespace":%[1]q},"spec":{"selector":{"matchLabels":{"app":"late"}},"template":{
			"metadata":{"labels":{"app":"late"},"annotations":{%[2]q:%[3]q}},
			"spec":{"terminationGracePeriodSeconds":1,"containers":[{"name":"main","image":"PYTHON","command":["python3","-c",%[4]s],
				"ports":[{"name":"http","containerPort":8080}],
				"readinessProbe":{"tcpSocket":{"port":"http"},"periodSeconds":1},
				"livenessProbe":{"httpGet":{"path":"/","port":"http"},"periodSeconds":1,"failureThreshold":600}
			}]}}}}]}`, devspace, api.AnnotationInject, api.InjectNetra, quote(late))
}

// testProbes proves that a probe by tcpSocket means beside netra what it means
// without: a pod whose application does not listen yet is not ready. And that the
// probes are no traffic.
func testProbes(t *testing.T, s *system) {
	since := time.Now()
	s.apply(t, lateManifest())
	defer s.kubectl(t, "delete", "-n", devspace, "deployment/late", "service/late", "--wait=false")
	pod := s.latePod(t)
	s.waitProbes(t, pod, "tcp", "5xx")
	s.waitProbes(t, pod, "http", "none")
	found, err := s.Clients.CoreV1().Pods(devspace).Get(t.Context(), pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if isReady(found) {
		t.Error("the pod is ready while its application does not listen")
	}
	s.kubectl(t, "exec", "-n", devspace, pod, "-c", "main", "--", "python3", "-c", `open("/tmp/listen", "w")`)
	s.kubectl(t, "wait", "-n", devspace, "--for=condition=Ready", "pod/"+pod, "--timeout=60s")
	s.waitProbes(t, pod, "tcp", "2xx")
	s.waitProbes(t, pod, "http", "2xx")

	answer, err := s.Get(t.Context(), devspace, "late", 8080, "/nothing")
	if err != nil || answer.Status != 404 {
		t.Fatalf("the application answers %d %s, %v", answer.Status, answer.Body, err)
	}
	if _, err := s.WaitTrace(t.Context(), devspace, since, 30*time.Second, "late"); err != nil {
		t.Fatal(err)
	}
	traces, err := s.Traces(t.Context(), devspace, "late", since)
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range traces {
		for _, span := range trace.Spans {
			if span.Operation != "GET /nothing" {
				t.Errorf("there is a span of a probe: %s of %s", span.Operation, span.Service)
			}
		}
	}
	for line := range strings.Lines(s.netraMetrics(t, pod)) {
		if strings.HasPrefix(line, `netra_requests_total{direction="inbound"`) && !strings.Contains(line, `code="4xx"`) {
			t.Errorf("a probe counts as traffic: %s", line)
		}
	}
}

// latePod waits for the Deployment's pod to run.
func (s *system) latePod(t *testing.T) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		pods, err := s.Clients.CoreV1().Pods(devspace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=late"})
		if err != nil {
			t.Fatal(err)
		}
		for _, pod := range pods.Items {
			if pod.Status.Phase == corev1.PodRunning {
				return pod.Name
			}
		}
	}
	t.Fatal("the deployment's pod does not run")
	return ""
}

// waitProbes waits until netra has seen a probe of this kind with this outcome.
func (s *system) waitProbes(t *testing.T, pod, kind, code string) {
	t.Helper()
	seen := regexp.MustCompile(fmt.Sprintf(`(?m)^netra_probes_total\{kind=%q,code=%q\} [1-9]`, kind, code))
	var text string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if text = s.netraMetrics(t, pod); seen.MatchString(text) {
			return
		}
	}
	t.Fatalf("no probe %s with outcome %s came to netra:\n%s", kind, code, text)
}

func (s *system) netraMetrics(t *testing.T, pod string) string {
	t.Helper()
	text, err := s.Clients.CoreV1().Pods(devspace).ProxyGet("http", pod, fmt.Sprint(api.NetraAdminPort), "metrics", nil).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
