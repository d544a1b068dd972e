package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// eventually fails the test where condition does not come true. The limit is
// for a broken program, not for a slow machine.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("waited in vain for: %s", what)
}

// shellGroup returns a group that runs a shell script in a directory of its
// own.
func shellGroup(t *testing.T, script string, change func(*Options)) (*Group, string) {
	t.Helper()
	dir := t.TempDir()
	opts := Options{
		Command: func() ([]string, error) { return []string{"/bin/sh", "-c", script}, nil },
		Dir:     dir, Grace: 20 * time.Second,
		Backoff: Backoff{First: time.Millisecond, Max: 4 * time.Millisecond, Settled: time.Hour},
	}
	if change != nil {
		change(&opts)
	}
	g := New(opts)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the group's status: %+v", g.Status())
		}
		g.Kill()
		_ = g.Stop(syscall.SIGKILL)
	})
	return g, dir
}

func mustStart(t *testing.T, g *Group) int {
	t.Helper()
	pid, err := g.Start()
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func exists(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return err == nil
	}
}

func lines(path string) int {
	data, _ := os.ReadFile(path)
	return strings.Count(string(data), "\n")
}

// alive reports whether a process runs; one that has ended and was not reaped
// does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestStartStopAndStatus(t *testing.T) {
	g, dir := shellGroup(t, `trap 'echo bye > term; exit 3' TERM; : > up; while :; do sleep 0.01; done`, nil)
	if s := g.Status(); s.State != api.StateStopped || s.PID != 0 || s.Starts != 0 {
		t.Errorf("before the start: %+v", s)
	}
	pid := mustStart(t, g)
	if again := mustStart(t, g); again != pid {
		t.Errorf("a second Start gave pid %d, want %d", again, pid)
	}
	if s := g.Status(); s.State != api.StateRunning || s.PID != pid || s.Starts != 1 || s.StartedAt.IsZero() {
		t.Errorf("running: %+v", s)
	}
	eventually(t, "the trap", exists(filepath.Join(dir, "up")))
	if err := g.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if s := g.Status(); s.State != api.StateStopped || s.PID != 0 || s.LastExit != "exit 3" || s.Crashes != 0 {
		t.Errorf("stopped: %+v", s)
	}
	if !exists(filepath.Join(dir, "term"))() {
		t.Error("the process did not get its TERM")
	}
	if err := g.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("Stop of what is stopped = %v", err)
	}
}

// TestStopTakesTheWholeGroup has a leader that ends at TERM and a child that
// ignores it: the grace goes by, then the kill takes the child.
func TestStopTakesTheWholeGroup(t *testing.T) {
	script := `sh -c 'trap "" TERM; echo $$ > child; while :; do sleep 0.01; done' & wait`
	g, dir := shellGroup(t, script, func(o *Options) { o.Grace = 200 * time.Millisecond })
	mustStart(t, g)
	eventually(t, "the child", func() bool { return lines(filepath.Join(dir, "child")) == 1 })
	data, _ := os.ReadFile(filepath.Join(dir, "child"))
	child, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	if err := g.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if alive(child) {
		t.Errorf("child %d runs on", child)
	}
	if s := g.Status(); s.LastExit != "signal terminated" {
		t.Errorf("status = %+v, want the leader's own end", s)
	}
}

func TestStoppedProcessCanBeStopped(t *testing.T) {
	g, _ := shellGroup(t, `while :; do sleep 0.01; done`, nil)
	pid := mustStart(t, g)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := g.Stop(syscall.SIGTERM); err != nil { // at once, not after the grace of 20 s
		t.Fatal(err)
	}
	if s := g.Status(); s.LastExit != "signal terminated" {
		t.Errorf("status = %+v", s)
	}
}

func TestCrashesAreStartedAgain(t *testing.T) {
	g, dir := shellGroup(t, `echo x >> runs; exit 7`, nil)
	mustStart(t, g)
	eventually(t, "five runs", func() bool { return lines(filepath.Join(dir, "runs")) >= 5 })
	if s := g.Status(); s.LastExit != "exit 7" || s.Crashes < 4 || s.Starts < 4 {
		t.Errorf("status = %+v", s)
	}
	if err := g.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	n := lines(filepath.Join(dir, "runs"))
	time.Sleep(50 * time.Millisecond)
	if s := g.Status(); s.State != api.StateStopped || lines(filepath.Join(dir, "runs")) != n {
		t.Errorf("it is started again after Stop: %+v", s)
	}
}

func TestStartCutsTheWaitShort(t *testing.T) {
	g, dir := shellGroup(t, `echo x >> runs; test -e go || exit 0; exec sleep 1000`, func(o *Options) {
		o.Backoff = Backoff{First: time.Hour, Max: time.Hour}
	})
	mustStart(t, g)
	eventually(t, "the back-off", func() bool { return g.Status().State == api.StateBackoff })
	if s := g.Status(); s.PID != 0 || s.LastExit != "exit 0" || s.Crashes != 1 {
		t.Errorf("status = %+v", s)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	mustStart(t, g)
	if s := g.Status(); s.State != api.StateRunning || s.Starts != 2 {
		t.Errorf("status = %+v", s)
	}
}

// TestARunThatSettlesBeginsTheBackoffAnew has three crashes at once, and one
// after a while.
func TestARunThatSettlesBeginsTheBackoffAnew(t *testing.T) {
	script := `echo x >> runs
		case $(wc -l < runs) in
		[123]) exit 1 ;;
		4) while ! test -e go; do sleep 0.01; done; exit 1 ;;
		esac
		exec sleep 1000`
	g, dir := shellGroup(t, script, func(o *Options) {
		o.Backoff = Backoff{First: time.Millisecond, Max: 4 * time.Millisecond, Settled: time.Hour}
	})
	failures := func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.failures
	}
	mustStart(t, g)
	eventually(t, "the fourth run", func() bool { return lines(filepath.Join(dir, "runs")) == 4 && g.Status().PID != 0 })
	if n := failures(); n != 3 {
		t.Errorf("%d crashes in a row, want 3", n)
	}
	g.mu.Lock()
	g.now.started = time.Now().Add(-2 * time.Hour) // so that it need not be waited for
	g.mu.Unlock()
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the fifth run", func() bool { return lines(filepath.Join(dir, "runs")) == 5 && g.Status().PID != 0 })
	if n := failures(); n != 1 {
		t.Errorf("%d crashes in a row, want 1", n)
	}
}

// TestCrashTakesTheGroup lets the leader end and leave a child: that one would
// hold the port that the next run needs.
func TestCrashTakesTheGroup(t *testing.T) {
	g, dir := shellGroup(t, `sleep 1000 & echo $! > child; exit 1`, func(o *Options) {
		o.Backoff = Backoff{First: time.Hour, Max: time.Hour}
	})
	mustStart(t, g)
	eventually(t, "the child's end", func() bool {
		data, _ := os.ReadFile(filepath.Join(dir, "child"))
		child, err := strconv.Atoi(strings.TrimSpace(string(data)))
		return err == nil && !alive(child)
	})
}

func TestStartThatFails(t *testing.T) {
	reason := errors.New("there is nothing")
	g, _ := shellGroup(t, "", func(o *Options) {
		o.Command = func() ([]string, error) { return nil, reason }
		o.Backoff = Backoff{First: time.Hour}
	})
	if _, err := g.Start(); !errors.Is(err, reason) {
		t.Errorf("Start = %v", err)
	}
	if s := g.Status(); s.State != api.StateBackoff || s.LastError != reason.Error() {
		t.Errorf("status = %+v", s)
	}
	g, _ = shellGroup(t, "", func(o *Options) {
		o.Command = func() ([]string, error) { return []string{"/no/such/program"}, nil }
	})
	if _, err := g.Start(); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("Start = %v, want the program named", err)
	}
}

func TestSignalGoesToTheLeader(t *testing.T) {
	// Not SIGHUP: where this test runs under nohup a shell cannot trap it.
	g, dir := shellGroup(t, `trap ': > told' USR1; : > up; while :; do sleep 0.01; done`, nil)
	g.Signal(syscall.SIGUSR1) // nobody there
	mustStart(t, g)
	eventually(t, "the trap", exists(filepath.Join(dir, "up")))
	g.Signal(syscall.SIGUSR1)
	eventually(t, "the signal", exists(filepath.Join(dir, "told")))
}

func TestTask(t *testing.T) {
	var out, errs strings.Builder
	run := func(script string, limit time.Duration) (string, error) {
		out.Reset()
		errs.Reset()
		return Task{Argv: []string{"/bin/sh", "-c", script}, Dir: t.TempDir(), Stdout: &out, Stderr: &errs, Limit: limit}.Run(context.Background())
	}
	tail, err := run(`for i in $(seq 100); do echo line $i; done; exit 4`, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "exit 4") {
		t.Errorf("Run = %v, want exit 4", err)
	}
	if n := strings.Count(tail, "\n") + 1; n != tailLines || !strings.HasSuffix(tail, "line 100") {
		t.Errorf("the tail has %d lines:\n%s", n, tail)
	}
	if strings.Count(out.String(), "\n") != 100 || errs.Len() != 0 {
		t.Errorf("the streams have %d and %d bytes", out.Len(), errs.Len())
	}
	if tail, err := run(`echo oops >&2`, time.Minute); err != nil || tail != "oops" || errs.String() != "oops\n" {
		t.Errorf("Run = %q, %v, and stderr has %q", tail, err, errs.String())
	}
	if _, err := run(`sleep 1000`, 20*time.Millisecond); err == nil || !strings.Contains(err.Error(), "more than 20ms") {
		t.Errorf("Run = %v, want its limit named", err)
	}
	// What it leaves running neither holds it up nor lives on.
	dir := t.TempDir()
	if _, err := run(`sleep 1000 & echo $! > `+dir+`/child`, time.Minute); err != nil {
		t.Errorf("Run = %v", err)
	}
	data, _ := os.ReadFile(filepath.Join(dir, "child"))
	child, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	eventually(t, "the end of what the task left", func() bool { return !alive(child) })
	if tail, _ := run(`head -c 100000 /dev/zero | tr '\0' x`, time.Minute); len(tail) > tailBytes {
		t.Errorf("the tail of one endless line has %d bytes", len(tail))
	}
}
