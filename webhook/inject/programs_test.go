package inject

import (
	"maps"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
)

// The programs themselves take what each documented example becomes, and what
// is left of all that is wrong.
func TestProgramsTakeWhatIsInjected(t *testing.T) {
	programs := map[string][]string{}
	for container, args := range map[string][]string{api.ContainerNetra: {"--version"}, api.ContainerNetraInit: {"--dry-run"}} {
		binary := filepath.Join(t.TempDir(), container)
		source := map[string]string{api.ContainerNetra: "../../netra", api.ContainerNetraInit: "../../netra/netra-init"}[container]
		if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", container, err, out)
		}
		programs[container] = append([]string{binary}, args...)
	}
	run := func(container string, set map[string]string) (string, error) {
		cmd := exec.Command(programs[container][0], programs[container][1:]...)
		cmd.Env = []string{}
		for name, text := range set {
			cmd.Env = append(cmd.Env, name+"="+text)
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	take := func(name string, annotations map[string]string) {
		pod, _ := injected(t, annotations)
		for container := range programs {
			if out, err := run(container, environment(t, pod, container)); err != nil {
				t.Errorf("%s: %s: %v\n%s", name, container, err, out)
			}
		}
	}
	for _, row := range rows(t, "../README.md", "## Annotations") {
		annotations := map[string]string{row[0][0]: row[1][0]}
		maps.Copy(annotations, beside[row[0][0]])
		annotations["inject"] = api.InjectEnabled
		take(row[0][0], annotations)
	}
	take("all that is wrong", faulty)
	for container, name := range map[string]string{api.ContainerNetra: "NETRA_PROPAGATION", api.ContainerNetraInit: "NETRA_INBOUND_PROBABILITY"} {
		if out, err := run(container, map[string]string{name: "zipkin"}); err == nil {
			t.Errorf("%s takes what it must refuse, so this test proves nothing:\n%s", container, out)
		}
	}
}
