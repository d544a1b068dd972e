package supervise

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// exitCode is how a shell and a container runtime tell an end by one number.
func exitCode(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// startCode is the same for a command that could not be started.
func startCode(err error) int {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) {
		return 126
	}
	return 127
}
