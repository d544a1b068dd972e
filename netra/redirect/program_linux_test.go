package redirect

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// buildProgram returns the path of a netra-init made from this source.
func buildProgram(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "netra-init")
	command(t, "go", "build", "-o", binary, "../netra-init")
	return binary
}

func TestProgram(t *testing.T) {
	binary := buildProgram(t)
	for _, way := range ways {
		t.Run(way.by, func(t *testing.T) {
			havePrograms(t, way.programs...)
			testProgram(t, binary, way.backend, way.by)
		})
	}
}

func testProgram(t *testing.T, binary string, backend Backend, by string) {
	pod, _ := podAndPeer(t)
	const half = "NETRA_OUTBOUND_PROBABILITY=0.5"
	run := func(setting string, args ...string) (code int, out string) {
		var text []byte
		pod.do(func() {
			cmd := exec.Command(binary, args...)
			cmd.Env = append(os.Environ(), "NETRA_REDIRECT_BACKEND="+string(backend), setting)
			text, _ = cmd.CombinedOutput()
			code = cmd.ProcessState.ExitCode()
		})
		return code, string(text)
	}
	if code, out := run(half, "--dry-run"); code != 0 || !strings.Contains(out, "500000 in 1000000") || pod.holds() != "" {
		t.Errorf("--dry-run: exit code %d\n%s\napplied: %v", code, out, pod.holds())
	}
	if code, out := run(half, "--check"); code != 3 || !strings.Contains(out, "run netra-init first") {
		t.Errorf("--check before applying: exit code %d, want 3\n%s", code, out)
	}
	for range 2 {
		if code, out := run(half); code != 0 || !strings.Contains(out, "applied by "+by) || pod.holds() != by {
			t.Errorf("applying: exit code %d\n%s\napplied: %v", code, out, pod.holds())
		}
	}
	if code, out := run(half, "--check"); code != 0 || strings.Count(out, "was captured") != 2 {
		t.Errorf("--check: exit code %d\n%s", code, out)
	}
	const wrong = "NETRA_OUTBOUND_PROBABILITY=2"
	if code, out := run(wrong); code != 2 || !strings.Contains(out, `="2": want a number`) {
		t.Errorf("with a wrong setting: exit code %d, want 2\n%s", code, out)
	}
	if code, out := run(wrong, "--cleanup"); code != 0 || pod.holds() != "" {
		t.Errorf("--cleanup: exit code %d\n%s\nleft: %v", code, out, pod.holds())
	}
}
