//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// testInjectManifests writes out in full what the webhook would add, runs it,
// and takes it out again.
func testInjectManifests(t *testing.T, s *system) {
	plain := s.file(t, podManifest("manual", "", `["python3", "-m", "http.server", "8080"]`, "Always"))
	text := s.fmc(t, "inject", "-f", plain, "--manual", "--registry", s.Images.Registry, "--tag", s.Images.Tag)
	injected := filepath.Join(t.TempDir(), "injected.json")
	write(t, injected, text)
	defer s.kubectl(t, "delete", "pod", "-n", devspace, "manual", "--wait=false", "--grace-period=1")
	s.kubectl(t, "apply", "-f", injected)
	s.kubectl(t, "wait", "-n", devspace, "--for=condition=Ready", "pod/manual", "--timeout=60s")
	pod, err := s.Clients.CoreV1().Pods(devspace).Get(t.Context(), "manual", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(pod.Spec.InitContainers); !hasNetra(pod) || n != 2 {
		t.Errorf("the pod has netra: %v, and %d init containers, want it and 2: the webhook adds nothing to it", hasNetra(pod), n)
	}
	live := filepath.Join(t.TempDir(), "live.json")
	write(t, live, s.kubectl(t, "get", "pod", "-n", devspace, "manual", "-o", "json"))
	var back corev1.Pod
	if err := json.Unmarshal([]byte(s.fmc(t, "uninject", "-f", live)), &back); err != nil {
		t.Fatal(err)
	}
	if _, marked := back.Annotations[api.AnnotationStatus]; marked || len(back.Spec.InitContainers) > 0 || back.Labels[api.LabelService] != "" {
		t.Errorf("after uninject the pod has %d init containers, labels %v and annotations %v", len(back.Spec.InitContainers), back.Labels, back.Annotations)
	}
}

// checkOutput is what is read of `check -o json`.
type checkOutput struct {
	Findings []struct{ Check, Level, Text, WayOut string }
	Missing  []struct{ Name string }
	Failed   bool
}

// check runs kubectl fmc check in the devspace; that it exits non-zero is for
// the report to say.
func (s *system) check(t *testing.T, args ...string) (checkOutput, error) {
	t.Helper()
	out, failed := s.FMC(t.Context(), append([]string{"check", "-n", devspace, "-o", "json"}, args...)...)
	var report checkOutput
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("parsing what check prints: %v, %v\n%s", err, failed, out)
	}
	if report.Failed != (failed != nil) {
		t.Errorf("check says failed: %v, and ends with %v", report.Failed, failed)
	}
	return report, failed
}

func (r checkOutput) text() string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s: %s\n", f.Level, f.Check, f.Text)
	}
	return b.String()
}

// testCheckAndExplain looks at an installation that is whole, and at a pod that
// injection keeps from running.
func testCheckAndExplain(t *testing.T, s *system) {
	report, err := s.check(t)
	if err != nil {
		t.Errorf("check of a whole installation: %v\n%s", err, report.text())
	}
	for _, part := range []string{"ok certificate: that of pod webhook-", "ok trial: a pod for show", "ok hub: 1 of 1", "ok identity: the hub of devspace " + devspace + " has a certificate", "ok tracing: 1 of 1"} {
		if !strings.Contains(report.text(), part) {
			t.Errorf("check does not say %q:\n%s", part, report.text())
		}
	}
	text := s.fmc(t, "explain", "deploy/orders", "-n", devspace)
	for _, part := range []string{"Deployment/orders has the annotation formicarium.io/inject: enabled, which decides.", "A pod made now gets netra and stinger.", "Stinger supervises container orders on port 24000."} {
		if !strings.Contains(text, part) {
			t.Errorf("explain does not say %q:\n%s", part, text)
		}
	}
	// Its netra-init has an image that nobody has.
	plain := s.file(t, podManifest("broken", "", `["sleep", "60"]`, "Always"))
	broken := filepath.Join(t.TempDir(), "broken.json")
	write(t, broken, s.fmc(t, "inject", "-f", plain, "--manual", "--registry", s.Images.Registry+"/nobody", "--tag", "none"))
	s.kubectl(t, "apply", "-f", broken)
	defer s.kubectl(t, "delete", "pod", "-n", devspace, "broken", "--wait=false", "--grace-period=1")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		report, _ = s.check(t)
		if strings.Contains(report.text(), "broken does not run because of what was injected: container netra-init") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("check does not tell of the pod that injection keeps from running:\n%s", report.text())
		}
	}
}

// testRepair creates pods while the API server knows of no webhook, and has
// them injected afterwards.
func testRepair(t *testing.T, s *system) {
	s.kubectl(t, "delete", "mutatingwebhookconfiguration", "formicarium")
	restored := false
	defer func() {
		if !restored {
			s.fmc(t, s.InstallArgs()...)
		}
	}()
	template := strings.Replace(podTemplate("late", api.InjectNetra, `["python3", "-m", "http.server", "8080"]`, "Always"), `"name":"late",`, "", 1)
	s.apply(t, fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"late","namespace":%q},"spec":{"replicas":2,"selector":{"matchLabels":{"run":"e2e"}},"template":%s}}`, devspace, template))
	s.apply(t, podManifest("alone", api.InjectNetra, `["sleep", "600"]`, "Always"))
	defer s.kubectl(t, "delete", "-n", devspace, "deployment/late", "pod/alone", "--ignore-not-found", "--wait=false")
	s.kubectl(t, "rollout", "status", "-n", devspace, "deployment/late", "--timeout=90s")
	s.kubectl(t, "wait", "-n", devspace, "--for=condition=Ready", "pod/alone", "--timeout=60s")

	report, err := s.check(t)
	if err == nil || len(report.Missing) != 3 || !strings.Contains(report.text(), "fail webhook configuration: there is none") {
		t.Errorf("without a configuration: %v, %d pods without injection\n%s", err, len(report.Missing), report.text())
	}
	if _, err := s.FMC(t.Context(), "check", "--repair", "-n", devspace); err == nil || !strings.Contains(err.Error(), "nothing was repaired") {
		t.Errorf("repair without a webhook: %v", err)
	}
	if text := s.fmc(t, "explain", "deploy/late", "-n", devspace); !strings.Contains(text, "asks for netra and has nothing") {
		t.Errorf("explain says:\n%s", text)
	}
	s.fmc(t, s.InstallArgs()...)
	restored = true
	if _, err := s.check(t, "--repair", "--dry-run"); err == nil {
		t.Error("a dry run has repaired")
	}
	if report, _ = s.check(t); len(report.Missing) != 3 {
		t.Errorf("after a dry run there are %d pods without injection", len(report.Missing))
	}
	// The bare pod stays, and so does the exit code.
	if _, err := s.check(t, "--repair", "--rate", "5"); err == nil {
		t.Error("a bare pod without injection is no failure")
	}
	s.kubectl(t, "rollout", "status", "-n", devspace, "deployment/late", "--timeout=90s")
	report, _ = s.check(t)
	if len(report.Missing) != 1 || report.Missing[0].Name != "alone" {
		t.Errorf("after the repair there are %+v without injection", report.Missing)
	}
	pods, err := s.Clients.CoreV1().Pods(devspace).List(t.Context(), metav1.ListOptions{LabelSelector: "run=e2e"})
	if err != nil {
		t.Fatal(err)
	}
	repaired := 0
	for _, pod := range pods.Items {
		if strings.HasPrefix(pod.Name, "late-") && pod.DeletionTimestamp == nil && hasNetra(&pod) {
			repaired++
		}
	}
	if repaired != 2 {
		t.Errorf("%d pods of the deployment have netra, want 2", repaired)
	}
}
