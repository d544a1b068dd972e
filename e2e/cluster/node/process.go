package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// identity tells one process from every other that this machine ever ran: the
// kernel gives a process id again, but not with the same start time in the
// same boot.
type identity struct {
	pid   int
	start string // in clock ticks since boot
	boot  string // id of the boot
}

// identify reads the identity of the process pid. It is fs.ErrNotExist where
// no such process runs; a zombie does not run.
func identify(pid int) (identity, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, syscall.ESRCH) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return identity{}, err
	}
	state, start, err := parseStat(stat)
	if err != nil {
		return identity{}, err
	}
	if state == "Z" || state == "X" {
		return identity{}, fs.ErrNotExist
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, err
	}
	return identity{pid, start, strings.TrimSpace(string(boot))}, nil
}

// parseStat finds the state and the start time in a /proc/PID/stat. The second
// field, the program's name in parentheses, may hold spaces and parentheses.
func parseStat(stat []byte) (state, start string, err error) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return "", "", fmt.Errorf("parsing %q: no name in parentheses", stat)
	}
	// What follows starts with field 3, the state; the start time is field 22.
	fields := strings.Fields(string(stat[i+1:]))
	if len(fields) < 20 {
		return "", "", fmt.Errorf("parsing %q: %d fields after the name", stat, len(fields))
	}
	return fields[0], fields[19], nil
}

func (id identity) String() string { return fmt.Sprintf("%d %s %s\n", id.pid, id.start, id.boot) }

func parseIdentity(s string) (identity, error) {
	f := strings.Fields(s)
	if len(f) != 3 {
		return identity{}, fmt.Errorf("parsing the pid file %q: want pid, start time, boot id", s)
	}
	pid, err := strconv.Atoi(f[0])
	if err != nil || pid <= 1 {
		return identity{}, fmt.Errorf("parsing the pid file %q: bad pid", s)
	}
	return identity{pid, f[1], f[2]}, nil
}

// alive tells whether that very process still runs.
func (id identity) alive() bool {
	now, err := identify(id.pid)
	return err == nil && now == id
}

// running returns the daemon's process if it runs.
func (l Layout) running(daemon string) (identity, bool) {
	b, err := os.ReadFile(l.pidFile(daemon))
	if err != nil {
		return identity{}, false
	}
	id, err := parseIdentity(string(b))
	return id, err == nil && id.alive()
}

// process is a daemon that this program started.
type process struct {
	exited chan struct{} // closed when it has ended, after err is set
	err    error
}

// spawn starts d in a session of its own, so that it outlives this program,
// with its output in its log. procs is the file of its cgroup's processes.
func (l Layout) spawn(d daemon, procs string) (*process, error) {
	if err := os.MkdirAll(l.path("logs"), 0o755); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(l.log(d.name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	// The shell enters the node's cgroup before it becomes the daemon, so that
	// nothing the daemon ever starts is outside it.
	const enter = `echo $$ >"$0" && exec "$@"`
	args := append([]string{"-c", enter, procs, d.binary}, d.args...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir = l.Dir
	cmd.Env = l.environment()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{exited: make(chan struct{})}
	id, err := identify(cmd.Process.Pid)
	switch {
	case err == nil:
		err = writeFile(l.pidFile(d.name), []byte(id.String()))
	case errors.Is(err, fs.ErrNotExist):
		err = nil // it has ended already: wait says how, and the log why
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// environment of the daemons: the caller's variables must not reach them, for
// some (KUBECONFIG, proxies, GODEBUG) would change what they do.
func (l Layout) environment() []string {
	return []string{"HOME=" + l.Dir, "PATH=" + l.Bin() + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
}

// start starts the daemon and waits until ready says nil. Where it ends or the
// context does, the error shows the end of its log.
func (l Layout) start(ctx context.Context, name string, ready func(context.Context) error) error {
	p, err := l.spawn(l.daemon(name), daemonProcs())
	if err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	if err := p.wait(ctx, ready); err != nil {
		return fmt.Errorf("starting %s: %w\n%s", name, err, l.logTail(name))
	}
	return nil
}

// wait polls ready until it succeeds.
func (p *process) wait(ctx context.Context, ready func(context.Context) error) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.end()
		case <-ctx.Done():
			return fmt.Errorf("waiting for it: %w (last: %w)", context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// end tells how the process ended; it has.
func (p *process) end() error {
	if p.err == nil {
		return errors.New("it ended")
	}
	return fmt.Errorf("it ended: %w", p.err)
}

// logTail returns the end of the daemon's log, under a headline.
func (l Layout) logTail(daemon string) string {
	const lines = 20
	b, err := os.ReadFile(l.log(daemon))
	if err != nil {
		return "no log: " + err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return fmt.Sprintf("the last lines of %s:\n%s", l.log(daemon), strings.Join(all[max(0, len(all)-lines):], "\n"))
}

// stop ends the daemons that the pid files name: TERM to all, then KILL to
// those that are still there when grace is over.
func (l Layout) stop(grace time.Duration) {
	l.signal(syscall.SIGTERM)
	if !l.gone(grace) {
		l.signal(syscall.SIGKILL)
		l.gone(grace)
	}
	for _, name := range daemonNames() {
		_ = os.Remove(l.pidFile(name))
	}
}

// signal sends s to every running daemon.
func (l Layout) signal(s os.Signal) {
	for _, name := range daemonNames() {
		id, ok := l.running(name)
		if !ok {
			continue
		}
		// The handle is taken before the second look, so that the signal cannot
		// reach a process that is given the same pid in between.
		if p, err := os.FindProcess(id.pid); err == nil && id.alive() {
			_ = p.Signal(s)
		}
	}
}

// gone waits until no daemon runs, and tells whether that came to pass.
func (l Layout) gone(within time.Duration) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		running := slices.ContainsFunc(daemonNames(), func(name string) bool {
			_, ok := l.running(name)
			return ok
		})
		if !running || time.Now().After(deadline) {
			return !running
		}
	}
}
