package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Ask is Stop without a limit of its own: the group takes the time that it
// takes, unless it is killed.
func (g *Group) Ask(signal syscall.Signal) error { return g.stop(signal, forever) }

// forever is a grace that nobody lives to see the end of.
const forever = 1 << 62

// isFinal reports whether an end now is the last one.
func (g *Group) isFinal() bool { return g.opts.Final != nil && g.opts.Final() }

func (g *Group) finish(code int) {
	g.finalize.Do(func() {
		g.finalCode = code
		close(g.final)
	})
}

// Final is closed when the process has ended, or could not be started, and
// Options.Final said that this is final.
func (g *Group) Final() <-chan struct{} { return g.final }

// FinalCode returns the exit code of that end, see LastCode, or 127 or 126 where
// the command was not found or could not be executed; ok is whether there was
// such an end.
func (g *Group) FinalCode() (code int, ok bool) {
	select {
	case <-g.final:
		return g.finalCode, true
	default:
		return 0, false
	}
}

// LastCode returns the exit code of the last end as a shell gives it, 128 and
// the signal's number where it was one; 0 before the first.
func (g *Group) LastCode() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lastCode
}

// exitText says how a process ended: "exit 3", "signal killed".
func exitText(state *os.ProcessState) string {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return "signal " + ws.Signal().String()
	}
	return fmt.Sprintf("exit %d", state.ExitCode())
}

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

// awaitEmpty waits until the group has no process left, or returns false.
func awaitEmpty(group int, limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	// Mostly the leader was all there was, so the first look suffices; what
	// comes after is mostly a worker's exit, which is over within a few ms.
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if err := syscall.Kill(-group, 0); err == syscall.ESRCH {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
}
