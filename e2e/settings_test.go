//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// testSettings runs pods whose annotations say how they are to be traced: one
// that is redirected by iptables, one whose values netra would refuse, and one
// with resources of its own. All of them start, and netra is never restarted.
func testSettings(t *testing.T, s *system) {
	annotations := map[string]map[string]string{
		"by-iptables": {"netra-redirect-backend": "iptables"},
		"misset":      {"netra-port": "14955", "netra-admin-port": "80", "jaeger-user": "ann", "otel-exporter-otlp-certificate": "/ca.pem", "netra-propagation": "zipkin"},
		"resources":   {"netra-cpu-request": "20m", "netra-cpu-limit": "500m", "netra-memory-limit": "64Mi", "image-pull-policy": "IfNotPresent"},
	}
	var names []string
	for name, set := range annotations {
		names = append(names, "pod/"+name)
		manifest := podManifest(name, api.InjectNetra, `["python3", "-m", "http.server", "8080"]`, "Always")
		for key, value := range set {
			manifest = strings.Replace(manifest, `"annotations":{`, fmt.Sprintf(`"annotations":{%q:%q,`, api.Domain+"/"+key, value), 1)
		}
		if name == "misset" {
			// kubectl shows a warning of each, which this flag makes an error.
			_, err := s.Kubectl(t.Context(), "apply", "--dry-run=server", "--warnings-as-errors", "-f", s.file(t, manifest))
			for key := range set {
				if err == nil || !strings.Contains(err.Error(), api.Domain+"/"+key) {
					t.Errorf("kubectl does not warn of %s: %v", key, err)
				}
			}
		}
		s.apply(t, manifest)
	}
	defer s.kubectl(t, append([]string{"delete", "-n", devspace, "--wait=false", "--grace-period=1"}, names...)...)
	s.kubectl(t, append([]string{"wait", "-n", devspace, "--for=condition=Ready", "--timeout=90s"}, names...)...)
	for name := range annotations {
		pod, err := s.Clients.CoreV1().Pods(devspace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !hasNetra(pod) {
			t.Errorf("pod %s has no netra", name)
		}
		for _, c := range pod.Status.InitContainerStatuses {
			if c.RestartCount > 0 {
				t.Errorf("%s of pod %s was restarted", c.Name, name)
			}
		}
		for _, c := range pod.Spec.InitContainers {
			if limit := c.Resources.Limits[corev1.ResourceMemory]; name == "resources" && c.Name == api.ContainerNetra && limit.String() != "64Mi" {
				t.Errorf("netra of pod %s has the memory limit %s", name, limit.String())
			}
		}
	}
	if log := s.kubectl(t, "logs", "-n", devspace, "by-iptables", "-c", api.ContainerNetraInit); !strings.Contains(log, "applied by iptables") {
		t.Errorf("netra-init says:\n%s", log)
	}
}
