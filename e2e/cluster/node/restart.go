package node

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Restart stops one daemon of a node that is up, and starts it again. The
// others go on.
func (l Layout) Restart(ctx context.Context, name string) error {
	if !slices.Contains(daemonNames(), name) {
		return fmt.Errorf("no daemon %q: want one of %s", name, strings.Join(daemonNames(), ", "))
	}
	id, ok := l.running(name)
	if !ok {
		return fmt.Errorf("%s does not run: bring the cluster up first", name)
	}
	// The handle is taken before the second look: see signal.
	p, err := os.FindProcess(id.pid)
	if err != nil {
		return fmt.Errorf("stopping %s: %w", name, err)
	}
	// A shutdown that waits for its clients is no crash; this is.
	if id.alive() {
		if err := p.Signal(syscall.SIGKILL); err != nil {
			return fmt.Errorf("stopping %s: %w", name, err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not ready after %s", patience))
	defer cancel()
	for id.alive() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopping %s: %w", name, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
	// What was killed may count as gone before the kernel has closed its sockets.
	for try := 1; ; try++ {
		err := l.start(ctx, name, l.ready(name))
		if err == nil || try == restartTries || ctx.Err() != nil {
			return err
		}
		time.Sleep(restartPause)
	}
}

// How often a daemon is started that ends at once, and the pause before the next.
const (
	restartTries = 5
	restartPause = 300 * time.Millisecond
)
