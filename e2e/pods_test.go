//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// stinger asks a service's one container's Stinger for its status.
func (s *system) stinger(t *testing.T, service string) api.StingerStatus {
	t.Helper()
	out := s.fmc(t, "status", service, "-n", devspace, "-o", "json")
	var status struct {
		Services []struct {
			Pods []struct {
				Containers []struct {
					api.StingerStatus
					Error string
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		t.Fatalf("parsing the status of %s: %v\n%s", service, err, out)
	}
	if len(status.Services) != 1 || len(status.Services[0].Pods) != 1 || len(status.Services[0].Pods[0].Containers) != 1 {
		t.Fatalf("service %s has not one container:\n%s", service, out)
	}
	container := status.Services[0].Pods[0].Containers[0]
	if container.Error != "" {
		t.Fatalf("asking the Stinger of %s: %s", service, container.Error)
	}
	return container.StingerStatus
}

// pod returns the name of a service's newest pod.
func (s *system) pod(t *testing.T, service string) string {
	t.Helper()
	pods, err := s.Clients.CoreV1().Pods(devspace).List(t.Context(), metav1.ListOptions{LabelSelector: api.LabelService + "=" + service})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			return pod.Name
		}
	}
	t.Fatalf("service %s has no pod", service)
	return ""
}

// waitFile waits until a file in the service's container has a content; ""
// means that there is no such file.
func (s *system) waitFile(t *testing.T, service, name, content string) {
	t.Helper()
	pod := s.pod(t, service)
	script := `if [ -e "$1" ]; then head -c 1000 "$1"; fi` // more is not waited for, and fills the log
	var last string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, err := s.Kubectl(t.Context(), "exec", "-n", devspace, pod, "-c", service, "--", "sh", "-c", script, "sh", "/app/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if last = out; out == content {
			return
		}
	}
	t.Fatalf("%s in %s holds %q, want %q", name, service, last, content)
}

// testRealGit clones from and pushes to the hub with git itself, which the plugin
// lends its way there.
func testRealGit(t *testing.T, s *system) {
	dir := filepath.Join(t.TempDir(), "clone")
	s.git(t, "clone", "fmc:orders", dir)
	if remote := git(t, dir, "remote", "get-url", "origin"); strings.TrimSpace(remote) != "fmc:orders" {
		t.Errorf("the clone's remote is %s, want fmc:orders", remote)
	}
	text, err := os.ReadFile(filepath.Join(dir, "app.py"))
	if err != nil || !strings.Contains(string(text), "edited once") {
		t.Fatalf("the clone's app.py: %v, %d bytes", err, len(text))
	}
	write(t, filepath.Join(dir, "app.py"), strings.Replace(string(text), "edited once", "pushed by git", 1))
	git(t, dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qam", "edit")
	out := s.git(t, "-C", dir, "push", "origin", "HEAD:"+api.HubBranch)
	if !strings.Contains(out, "remote: ") || !strings.Contains(out, "orders-") {
		t.Errorf("git push does not say what became of the push in the pod:\n%s", out)
	}
	if _, _, err := s.Until(t.Context(), 20*time.Second, s.orders, holds("pushed by git")); err != nil {
		t.Error(err)
	}
	// The developer's directory is what counts: the next sync wins.
	s.fmc(t, "sync", "orders", filepath.Join(s.shop, "orders"), "--once", "-n", devspace)
	if _, _, err := s.Until(t.Context(), 20*time.Second, s.orders, holds("edited once")); err != nil {
		t.Error(err)
	}
}

// git runs git through the plugin, in which fmc: is the devspace's hub.
func (s *system) git(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.Git(t.Context(), devspace, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// testAnnotatedPods runs workloads that Formicarium did not deploy: one that
// asks for netra by annotation, one that does not ask, one with a bad value.
func testAnnotatedPods(t *testing.T, s *system) {
	for name, inject := range map[string]string{"traced": api.InjectNetra, "plain": "", "bad": "enable"} {
		s.apply(t, podManifest(name, inject, `["python3", "-m", "http.server", "8080"]`, "Always"))
	}
	defer s.kubectl(t, "delete", "pod", "-n", devspace, "traced", "plain", "bad", "--wait=false", "--grace-period=1")
	s.kubectl(t, "wait", "-n", devspace, "--for=condition=Ready", "pod/traced", "pod/plain", "pod/bad", "--timeout=60s")
	for name, want := range map[string]bool{"traced": true, "plain": false, "bad": false} {
		pod, err := s.Clients.CoreV1().Pods(devspace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := hasNetra(pod); got != want {
			t.Errorf("pod %s has netra: %v, want %v", name, got, want)
		}
	}
}

func hasNetra(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == api.ContainerNetra })
}

// testJobEnds proves that a traced Job's pod ends with its own container.
func testJobEnds(t *testing.T, s *system) {
	script := `import urllib.request; urllib.request.urlopen("http://front:8080/", timeout=10).read()`
	s.apply(t, fmt.Sprintf(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"once","namespace":%q},"spec":{"backoffLimit":3,"template":%s}}`,
		devspace, podTemplate("once", api.InjectNetra, fmt.Sprintf(`["python3","-c",%s]`, quote(script)), "Never")))
	s.kubectl(t, "wait", "-n", devspace, "--for=condition=Complete", "job/once", "--timeout=90s")
	pods, err := s.Clients.CoreV1().Pods(devspace).List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=once"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("looking for the job's pod: %v, %d pods", err, len(pods.Items))
	}
	if !hasNetra(&pods.Items[0]) {
		t.Error("the job's pod has no netra")
	}
	s.kubectl(t, "delete", "job", "-n", devspace, "once")
}

// testWebhookDown takes the webhook away: pods that did not ask do not notice,
// one that asks is refused with a message that says why, and all is well when
// the webhook is back.
func testWebhookDown(t *testing.T, s *system) {
	s.kubectl(t, "scale", "-n", api.SystemNamespace, "deployment/webhook", "--replicas=0")
	s.kubectl(t, "wait", "-n", api.SystemNamespace, "--for=delete", "pod", "-l", api.LabelName+"=webhook", "--timeout=90s")
	for i := range 20 {
		s.apply(t, podManifest(fmt.Sprintf("quiet-%d", i), "", `["sleep", "1"]`, "Never"))
	}
	_, err := s.Kubectl(t.Context(), "apply", "-f", s.file(t, podManifest("asking", api.InjectNetra, `["sleep", "1"]`, "Never")))
	if err == nil || !strings.Contains(err.Error(), "formicarium") {
		t.Errorf("without the webhook a pod that asks for it: %v, want an error that names it", err)
	}
	s.fmc(t, s.InstallArgs()...)
	s.apply(t, podManifest("asking", api.InjectNetra, `["sleep", "1"]`, "Never"))
	s.kubectl(t, "delete", "pod", "-n", devspace, "-l", "run=e2e", "--wait=false", "--grace-period=1")
}

func podManifest(name, inject, command, restart string) string {
	template := podTemplate(name, inject, command, restart)
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod",%s`, strings.TrimPrefix(template, "{"))
}

func podTemplate(name, inject, command, restart string) string {
	annotations := ""
	if inject != "" {
		annotations = fmt.Sprintf(`,"annotations":{%q:%q}`, api.AnnotationInject, inject)
	}
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":%q,"labels":{"run":"e2e"}%s},"spec":{"restartPolicy":%q,"terminationGracePeriodSeconds":1,`+
		`"containers":[{"name":"main","image":"PYTHON","command":%s}]}}`, name, devspace, annotations, restart, command)
}

// apply gives a manifest to kubectl; PYTHON stands for the image.
func (s *system) apply(t *testing.T, manifest string) {
	t.Helper()
	s.kubectl(t, "apply", "-f", s.file(t, manifest))
}

func (s *system) file(t *testing.T, manifest string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifest.json")
	write(t, path, strings.ReplaceAll(manifest, "PYTHON", s.Images.Python))
	return path
}

func quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	return string(b)
}
