package testutil

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// AgainInUserNamespace runs a test of this program again, alone and with more
// variables, in a user namespace of its own, whose limits are its to set.
func AgainInUserNamespace(t *testing.T, test string, variables ...string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), variables...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in a user namespace of its own: %v\n%s", err, out)
	}
}
