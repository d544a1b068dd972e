package supervise

import (
	"os/exec"
	"sync"
)

// family knows the children that this process started itself, so that Adopt
// leaves their ends to whoever waits for them. It is one for the process, as
// the kernel's list of children is.
var family = &children{pids: map[int]bool{}, ended: make(chan struct{}, 1)}

type children struct {
	mu    sync.Mutex
	pids  map[int]bool
	ended chan struct{} // one of ours was waited for: others may be behind it
}

// start starts cmd. The lock keeps the reaper away until the child is known:
// one that ends at once would be taken for an orphan.
func (c *children) start(cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	c.pids[cmd.Process.Pid] = true
	return nil
}

// wait waits for a command that start started.
func (c *children) wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	c.mu.Lock()
	delete(c.pids, cmd.Process.Pid)
	c.mu.Unlock()
	select {
	case c.ended <- struct{}{}:
	default: // the reaper will look anyway
	}
	return err
}
