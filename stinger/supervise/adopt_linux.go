package supervise

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Adopt makes this process the parent of all descendants whose own parent is
// gone, as process 1 is anyway, and reaps them until ctx ends. Children that
// another part of the program starts without this package would be reaped,
// too: there must be none.
func Adopt(ctx context.Context) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the reaper of orphaned processes: %w", err)
	}
	// One slot is enough: a look finds all that have ended.
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGCHLD)
	go func() {
		defer signal.Stop(ends)
		for {
			family.reapOrphans()
			select {
			case <-ctx.Done():
				return
			case <-ends:
			case <-family.ended:
			}
		}
	}()
	return nil
}

// reapOrphans reaps what has ended, up to the first child of our own: that one
// is somebody's to wait for, who tells when it is done.
func (c *children) reapOrphans() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		pid := endedChild()
		if pid == 0 || c.pids[pid] {
			return
		}
		if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != nil && err != unix.EINTR {
			return
		}
	}
}

// endedChild returns the id of a child that has ended and leaves it to be
// reaped; 0 where there is none.
func endedChild() int {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // ECHILD: no children at all
			return 0
		}
		// The kernel's siginfo_t is a head of three 32-bit numbers and a union
		// aligned like a pointer, which for an ended child begins with its id;
		// package unix gives names to the head only.
		const head = 3 * unsafe.Sizeof(int32(0))
		const word = unsafe.Sizeof(uintptr(0))
		const union = (head + word - 1) / word * word
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), union)))
	}
}
