package hub

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// stopDelay is how long a git that was told to end may take to remove its
// temporary files before it is killed.
const stopDelay = 2 * time.Second

// maxAllocation bounds each piece of memory that a git process asks for, in
// bytes: half of what a devspace gives its hub. Blobs that are not made of
// differences are streamed, however large.
const maxAllocation = 256 << 20

// Command returns a git process that is not started yet: without a shell, in a
// process group of its own, with an environment that holds nothing of the
// hub's, and with the hub's configuration as the only one beside the
// repository's. When ctx ends, the group is told to end, and then made to; see
// Reap. protocol is what the client sent as Git-Protocol, checked by the
// caller.
func (h *Hub) Command(ctx context.Context, protocol string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = h.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=/nonexistent",
		"LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + filepath.Join(h.dir, configName),
		"GIT_TERMINAL_PROMPT=0",
		// A few bytes of a pack may tell git to make an object of gigabytes, and
		// so may a number of objects that is a lie.
		"GIT_ALLOC_LIMIT=" + strconv.Itoa(maxAllocation),
	}
	if protocol != "" {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+protocol)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopDelay
	return cmd
}

// Reap waits for a started Command and, where ctx ended, leaves nothing of its
// group behind.
func Reap(ctx context.Context, cmd *exec.Cmd) error {
	err := cmd.Wait()
	if ctx.Err() != nil {
		// Children that git left have its group; it is gone already in nearly
		// every case.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return err
}
