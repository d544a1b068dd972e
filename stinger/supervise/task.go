package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Task is a command that runs to its end: a build, a cleanup, a reload.
type Task struct {
	Argv           []string
	Dir            string
	Env            []string // on top of this process's own
	Stdout, Stderr io.Writer
	// Limit is the longest that it may take.
	Limit time.Duration
}

// LimitError is that a task was stopped, since it took longer than it may.
type LimitError struct{ Limit time.Duration }

func (e *LimitError) Error() string { return fmt.Sprintf("it took more than %s", e.Limit) }

const (
	// tailLines is how many of a task's last lines are kept: a compiler's
	// errors and the end of a stack trace fit, and so does a terminal.
	tailLines = 40
	// tailBytes bounds them, in case a task writes no line ends.
	tailBytes = 16 << 10
	// pipePatience is how long after a task's end what it left running may
	// hold its output before it is killed.
	pipePatience = time.Second
)

// Run runs the task and returns the last lines of its output, both streams
// together, in the order in which they were read. When it ends, by itself or with ctx, its whole
// group is killed: a task leaves nothing running.
func (t Task) Run(ctx context.Context) (tail string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.Limit, &LimitError{t.Limit})
	defer cancel()
	cmd := command(t.Argv, t.Dir)
	if t.Env != nil {
		cmd.Env = append(cmd.Environ(), t.Env...)
	}
	last := &lastLines{}
	cmd.Stdout = io.MultiWriter(last, t.Stdout)
	cmd.Stderr = io.MultiWriter(last, t.Stderr)
	cmd.WaitDelay = pipePatience
	if err := family.start(cmd); err != nil {
		return "", fmt.Errorf("starting %s: %w", t.Argv[0], err)
	}
	group := cmd.Process.Pid
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-group, syscall.SIGKILL) })
	err = family.wait(cmd)
	interrupted := !stop()
	_ = syscall.Kill(-group, syscall.SIGKILL)
	switch {
	case interrupted:
		return last.String(), fmt.Errorf("running %s: %w", t.Argv[0], context.Cause(ctx))
	case err == nil || errors.Is(err, exec.ErrWaitDelay): // the latter: it succeeded and left something running
		return last.String(), nil
	case cmd.ProcessState != nil:
		return last.String(), fmt.Errorf("running %s: %s", t.Argv[len(t.Argv)-1], exitText(cmd.ProcessState))
	default:
		return last.String(), fmt.Errorf("running %s: %w", t.Argv[0], err)
	}
}

// lastLines keeps the end of what is written to it.
type lastLines struct {
	mu  sync.Mutex
	buf []byte
}

func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p[max(0, len(p)-tailBytes):]...)
	if len(l.buf) > 2*tailBytes { // moved seldom, not at each write
		l.buf = append(l.buf[:0], l.buf[len(l.buf)-tailBytes:]...)
	}
	return len(p), nil
}

// String returns the last lines, whole, without the final line end.
func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(l.buf[max(0, len(l.buf)-tailBytes):])
	cut := len(text) < len(l.buf)
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if cut && len(lines) > 1 {
		lines = lines[1:] // a part of a line
	}
	return strings.ToValidUTF8(strings.Join(lines[max(0, len(lines)-tailLines):], "\n"), "\uFFFD")
}
