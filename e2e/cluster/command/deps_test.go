package command

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestKeepStopped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy-rc.d")
	for _, before := range []string{"", policy} { // the latter of a run that was killed
		if before != "" {
			if err := os.WriteFile(file, []byte(before), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		undo, err := keepStopped(file)
		if err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := exec.Command(file, "nginx", "start").Run(); !errors.As(err, &exit) || exit.ExitCode() != 101 {
			t.Errorf("the policy ended with %v, want 101: forbidden", err)
		}
		if err := undo(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the policy is still there: %v", err)
		}
	}
}

func TestMachinesOwnPolicyIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy-rc.d")
	const own = "#!/bin/sh\nexit 0\n"
	if err := os.WriteFile(file, []byte(own), 0o755); err != nil {
		t.Fatal(err)
	}
	undo, err := keepStopped(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(file); string(got) != own {
		t.Errorf("the policy is %q, %v", got, err)
	}
}
