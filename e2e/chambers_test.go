//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/e2e/harness"
	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
)

// chamberDir is a copy of one of examples/chambers.
func (s *system) chamberDir(t *testing.T, language string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), language)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(s.Root, "examples", "chambers", language))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ask asks a service that listens on 8080.
func (s *system) ask(service string) func(context.Context) (harness.Answer, error) {
	return func(ctx context.Context) (harness.Answer, error) { return s.Get(ctx, devspace, service, 8080, "/") }
}

func (s *system) answers(t *testing.T, service, part string) {
	t.Helper()
	if _, _, err := s.Until(t.Context(), time.Minute, s.ask(service), holds(part)); err != nil {
		t.Fatal(err)
	}
}

// undeploy takes a service out of the devspace, also when the test is at its end.
func (s *system) undeploy(t *testing.T, service string) {
	t.Helper()
	if _, err := s.FMC(context.WithoutCancel(t.Context()), "undeploy", service, "-n", devspace, "--yes"); err != nil {
		t.Error(err)
	}
}

// remove deletes with kubectl at the end of a test, when its context has ended.
func (s *system) remove(t *testing.T, args ...string) {
	t.Helper()
	if _, err := s.Kubectl(context.WithoutCancel(t.Context()), append([]string{"delete"}, args...)...); err != nil {
		t.Error(err)
	}
}

// testChambers runs directories that have no definition.
func testChambers(t *testing.T, s *system) {
	for _, language := range []string{"python", "node", "go"} {
		t.Run(language, func(t *testing.T) {
			service := "greet-" + language
			dir := s.chamberDir(t, language)
			s.fmc(t, "deploy", service, dir, "-n", devspace, "--port", "8080", "--timeout", "8m")
			t.Cleanup(func() { s.undeploy(t, service) })
			s.answers(t, service, "hello from "+language)
			file := filepath.Join(dir, map[string]string{"python": "app.py", "node": "greeting.js", "go": "main.go"}[language])
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, strings.Replace(string(text), "hello from", "good day from", 1))
			s.fmc(t, "sync", service, dir, "-n", devspace, "--once")
			s.answers(t, service, "good day from "+language)
		})
	}
}

// testChamberAnyUser builds and runs as a user that the image does not know, on
// a root filesystem that nothing can be written to.
func testChamberAnyUser(t *testing.T, s *system) {
	dir := s.chamberDir(t, "go")
	definition := filepath.Join(t.TempDir(), "fmc.yaml")
	write(t, definition, fmt.Sprintf(`
name: locked
path: %s
ports: [8080]
patches:
  - kind: Deployment
    patch:
      - {op: add, path: /spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem, value: true}
      - {op: add, path: /spec/template/spec/containers/0/securityContext/runAsNonRoot, value: true}
      - {op: add, path: /spec/template/spec/containers/0/securityContext/runAsUser, value: 1000660000}
`, dir))
	s.fmc(t, "deploy", "locked", "-f", definition, "-n", devspace, "--timeout", "8m")
	t.Cleanup(func() { s.undeploy(t, "locked") })
	s.answers(t, "locked", "hello from go")
}

// testChamberReloadsInPlace edits a service whose program takes changes up by
// itself: there is a new answer and no new start.
func testChamberReloadsInPlace(t *testing.T, s *system) {
	dir := s.chamberDir(t, "node")
	definition := filepath.Join(t.TempDir(), "fmc.yaml")
	write(t, definition, "name: inplace\npath: "+dir+"\nchamber: node\nrestart: false\nports: [8080]\n")
	s.fmc(t, "deploy", "inplace", "-f", definition, "-n", devspace)
	t.Cleanup(func() { s.undeploy(t, "inplace") })
	s.answers(t, "inplace", "hello from node")
	before := s.onlyContainer(t, "inplace")
	write(t, filepath.Join(dir, "greeting.js"), "module.exports = 'good day from node';\n")
	s.fmc(t, "sync", "inplace", dir, "-n", devspace, "--once")
	s.answers(t, "inplace", "good day from node")
	if after := s.onlyContainer(t, "inplace"); after.PID != before.PID || after.Restarts != before.Restarts {
		t.Errorf("the process was %d (%d restarts) and is %d (%d restarts)", before.PID, before.Restarts, after.PID, after.Restarts)
	}
}

// onlyContainer is what status says of a service's one container.
func (s *system) onlyContainer(t *testing.T, service string) api.StingerStatus {
	t.Helper()
	var status struct {
		Services []struct {
			Pods []struct{ Containers []api.StingerStatus }
		}
	}
	if err := json.Unmarshal([]byte(s.fmc(t, "status", service, "-n", devspace, "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Services) != 1 || len(status.Services[0].Pods) != 1 || len(status.Services[0].Pods[0].Containers) != 1 {
		t.Fatalf("status of %s: %+v, want one container", service, status)
	}
	return status.Services[0].Pods[0].Containers[0]
}

// testOwnChamber runs a directory in a chamber that is a ConfigMap.
func testOwnChamber(t *testing.T, s *system) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "page.html"), "a page of its own\n")
	s.kubectl(t, "create", "configmap", "pages", "-n", devspace, "--from-literal=image="+s.Images.Python,
		"--from-literal=start=exec python3 -m http.server 8080")
	s.kubectl(t, "label", "configmap", "pages", "-n", devspace, "formicarium.io/chamber=pages")
	t.Cleanup(func() { s.remove(t, "configmap", "pages", "-n", devspace) })
	t.Cleanup(func() { s.undeploy(t, "own") })
	for _, name := range []string{"pages", "configmap/pages"} {
		s.fmc(t, "deploy", "own", dir, "-n", devspace, "--chamber", name, "--port", "8080")
		s.answers(t, "own", "page.html")
	}
	if _, err := s.FMC(t.Context(), "deploy", "own", dir, "-n", devspace, "--chamber", "configmap/none"); err == nil || !strings.Contains(err.Error(), "has no ConfigMap none") {
		t.Errorf("a chamber that is not there: %v", err)
	}
}

// testCache keeps a service's dependencies on a volume: a pod that takes
// another's place installs nothing. Before there is a volume the deploy says so.
func testCache(t *testing.T, s *system) {
	const class = "fmc-e2e" // of no provisioner: volumes of it are made by hand
	dir := s.chamberDir(t, "python")
	if err := os.Mkdir(filepath.Join(dir, "wheels"), 0o755); err != nil {
		t.Fatal(err)
	}
	testutil.WriteWheel(t, filepath.Join(dir, "wheels"), "1.0", "GREETING = 'hello from a wheel'\n")
	write(t, filepath.Join(dir, "requirements.txt"), "--no-index\n--find-links wheels\ngreeting==1.0\n")
	app, err := os.ReadFile(filepath.Join(dir, "app.py"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "app.py"), strings.Replace(string(app), `GREETING = "hello from python"`, "from greeting import GREETING", 1))
	definition := filepath.Join(t.TempDir(), "fmc.yaml")
	write(t, definition, "name: cached\npath: "+dir+"\nports: [8080]\ncache: {size: 100Mi, storageClass: "+class+"}\n")

	t.Cleanup(func() { s.undeploy(t, "cached") })
	if _, err := s.FMC(t.Context(), "deploy", "cached", "-f", definition, "-n", devspace); err == nil || !strings.Contains(err.Error(), "volume claim cached-cache finds no volume") {
		t.Fatalf("deploy without a volume: %v, want an error that names the claim", err)
	}
	s.makeVolume(t, class)
	s.fmc(t, "deploy", "cached", "-f", definition, "-n", devspace)
	s.answers(t, "cached", "hello from a wheel")
	if logs := s.fmc(t, "logs", "cached", "-n", devspace); !strings.Contains(logs, "Successfully installed greeting-1.0") {
		t.Errorf("the first pod says nothing of an installation:\n%s", logs)
	}
	s.kubectl(t, "delete", "pod", "-n", devspace, "-l", api.LabelService+"=cached")
	s.kubectl(t, "rollout", "status", "deployment/cached", "-n", devspace, "--timeout", "2m")
	s.answers(t, "cached", "hello from a wheel")
	if logs := s.fmc(t, "logs", "cached", "-n", devspace); strings.Contains(logs, "Successfully installed") || strings.Contains(logs, "already satisfied") {
		t.Errorf("the second pod asked pip again:\n%s", logs)
	}
}

// makeVolume makes a volume of the class on the cluster's one node, by hand: the
// tests' cluster has no provisioner.
func (s *system) makeVolume(t *testing.T, class string) {
	t.Helper()
	kind := corev1.HostPathDirectoryOrCreate
	path := fmt.Sprintf("/tmp/fmc-e2e-cache-%d", os.Getpid())
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "fmc-e2e-cache"},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			StorageClassName:              class,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}},
		},
	}
	if _, err := s.Clients.CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Clients.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
		os.RemoveAll(path) // where the node is this machine
	})
}
