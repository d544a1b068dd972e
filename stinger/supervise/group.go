// Package supervise keeps one process, and whatever that starts, running.
//
//	g := supervise.New(supervise.Options{Command: scripts.Start, Dir: "/app", Grace: 10 * time.Second})
//	pid, err := g.Start()
//	…
//	err = g.Stop(syscall.SIGTERM)
//
// The process leads a group of its own, and the group is what is stopped: the
// signal goes to all of it, and what has not gone when the grace is over is
// killed. What left the group by setsid is not stopped, only reaped (Adopt).
//
// Every end that nobody asked for counts as a crash, exit code 0 included: a
// service is expected to stay. What is left of its group is stopped, and it is
// started again after a time that doubles with each crash, from Backoff.First
// to Backoff.Max; one that ran for Backoff.Settled begins anew. Start cuts the
// wait short. Where Options.Final says so, there is no next start.
//
// The package knows nothing of HTTP or git, and no script but its command.
package supervise

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// Options say what a Group runs, and how.
type Options struct {
	// Command returns the arguments, the program first. It is asked at each
	// start.
	Command func() ([]string, error)
	Dir     string
	// In, where it is set, returns the directory of each start in place of Dir.
	In func() string
	// Sockets, where it is set, returns what is kept open for the process at
	// each start; nil is nothing.
	Sockets func() *Sockets
	// Final, where it is set, is asked at each end that nobody asked for, and at
	// a start that fails: true means that nothing is started again, see
	// Group.Final. What else is in the group then is killed, as the kernel does
	// when the first process of a container ends.
	Final func() bool
	// Grace is how long a group has from the signal to the kill.
	Grace time.Duration
	// Stdin, Stdout and Stderr are given to the process as they are; nil is
	// /dev/null.
	Stdin, Stdout, Stderr *os.File
	Log                   *slog.Logger
	Backoff               Backoff
}

// Backoff is the wait between a crash and the next start. Zero values have the
// defaults.
type Backoff struct {
	First   time.Duration // 1 s
	Max     time.Duration // 30 s
	Settled time.Duration // 10 s
}

// killPatience is how long a killed group may take to be gone: only a process
// that the kernel holds (a dead disk, a debugger) outlives it.
const killPatience = 5 * time.Second

// Group is one supervised process with its descendants.
type Group struct {
	opts Options

	turn sync.Mutex // held by whoever starts or stops

	mu       sync.Mutex // guards what follows
	now      *process   // nil while there is none
	state    api.State
	starts   int
	crashes  int
	failures int // crashes in a row
	retry    *time.Timer
	lastExit string
	lastCode int
	lastErr  string

	final     chan struct{} // closed at an end that is final
	finalCode int
	finalize  sync.Once
}

// process is one run of the command.
type process struct {
	cmd     *exec.Cmd
	name    string
	pid     int // of the leader, and the group's id
	started time.Time
	ended   chan struct{} // closed when the leader has ended
	gone    chan struct{} // closed when the group has, or never will
	asked   bool          // its end was asked for
	kill    *time.Timer
	stuck   bool // something outlived the kill
}

// Status says how a Group is. Times are those of this machine.
type Status struct {
	State     api.State // StateStopped before the first start
	PID       int       // 0 where nothing runs
	StartedAt time.Time
	Starts    int
	Crashes   int
	LastExit  string // "exit 3", "signal killed"; "" before the first end
	LastError string // why the last start failed
}

// New returns a Group that has not been started.
func New(opts Options) *Group {
	if opts.Backoff.First == 0 {
		opts.Backoff.First = time.Second
	}
	if opts.Backoff.Max == 0 {
		opts.Backoff.Max = 30 * time.Second
	}
	if opts.Backoff.Settled == 0 {
		opts.Backoff.Settled = 10 * time.Second
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Group{opts: opts, state: api.StateStopped, final: make(chan struct{})}
}

// Start starts the process, unless it runs, and returns its id. Where it
// cannot be started that is the error, and is tried again like a crash.
func (g *Group) Start() (pid int, err error) {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	g.stopRetry()
	p := g.now
	if p != nil && !p.hasEnded() {
		g.mu.Unlock()
		return p.pid, nil
	}
	g.failures = 0
	g.mu.Unlock()
	if p != nil { // its group is still going
		<-p.gone
	}
	return g.launch()
}

// Stop sends the signal to the group and returns when all of it is gone, which
// takes at most the grace and a little; the error says if something is left.
// It also ends the wait for the next start.
func (g *Group) Stop(signal syscall.Signal) error { return g.stop(signal, g.opts.Grace) }

func (g *Group) stop(signal syscall.Signal, grace time.Duration) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	g.stopRetry()
	p := g.now
	if p == nil {
		g.state = api.StateStopped
		g.mu.Unlock()
		return nil
	}
	p.asked = true
	g.state = api.StateStopping
	g.end(p, signal, grace)
	g.mu.Unlock()
	<-p.gone
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now, g.state = nil, api.StateStopped
	g.stopRetry() // one that the end itself may have set
	if p.stuck {
		return fmt.Errorf("stopping process group %d: something in it outlived SIGKILL", p.pid)
	}
	return nil
}

// Kill kills the group now; a Stop under way then ends.
func (g *Group) Kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now != nil {
		g.signalAll(g.now, syscall.SIGKILL)
	}
}

// Signal sends the signal to the group's leader alone; where nothing runs it
// does nothing.
func (g *Group) Signal(signal syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now != nil && !g.now.hasEnded() {
		_ = g.now.cmd.Process.Signal(signal)
	}
}

// Status returns how the group is now.
func (g *Group) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{State: g.state, Starts: g.starts, Crashes: g.crashes, LastExit: g.lastExit, LastError: g.lastErr}
	if g.now != nil && !g.now.hasEnded() {
		s.PID, s.StartedAt = g.now.pid, g.now.started
	}
	return s
}

// launch starts the command; the turn is held and nothing runs.
func (g *Group) launch() (int, error) {
	p, err := g.spawn()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.now = nil
		g.lastErr = err.Error()
		if g.isFinal() {
			g.state = api.StateStopped
			g.finish(startCode(err))
			return 0, err
		}
		g.scheduleRetry()
		return 0, err
	}
	g.now, g.state, g.lastErr = p, api.StateRunning, ""
	g.starts++
	g.opts.Log.Info("started", "pid", p.pid, "command", p.name)
	go g.watch(p)
	return p.pid, nil
}

func (g *Group) spawn() (*process, error) {
	argv, err := g.opts.Command()
	if err != nil {
		return nil, err
	}
	dir := g.opts.Dir
	if g.opts.In != nil {
		dir = g.opts.In()
	}
	cmd, err := g.commandIn(argv, dir)
	if err != nil {
		return nil, err
	}
	// Through an interface a nil *os.File would not be nil.
	if g.opts.Stdin != nil {
		cmd.Stdin = g.opts.Stdin
	}
	if g.opts.Stdout != nil {
		cmd.Stdout = g.opts.Stdout
	}
	if g.opts.Stderr != nil {
		cmd.Stderr = g.opts.Stderr
	}
	if err := family.start(cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	return &process{
		cmd: cmd, name: argv[0], pid: cmd.Process.Pid, started: time.Now(),
		ended: make(chan struct{}), gone: make(chan struct{}),
	}, nil
}

// watch waits for p's end, sees to it that its group goes too, and has it
// started again where nobody had asked for the end.
func (g *Group) watch(p *process) {
	_ = family.wait(p.cmd) // how it ended is in its state
	g.mu.Lock()
	close(p.ended)
	g.lastExit, g.lastCode = exitText(p.cmd.ProcessState), exitCode(p.cmd.ProcessState)
	final := g.isFinal()
	if final {
		g.signalAll(p, syscall.SIGKILL)
	}
	if !p.asked {
		g.crashes++
		if time.Since(p.started) >= g.opts.Backoff.Settled {
			g.failures = 0
		}
		if final {
			g.state = api.StateStopped
		} else {
			g.end(p, syscall.SIGTERM, g.opts.Grace)
			g.scheduleRetry()
		}
		g.opts.Log.Warn("ended by itself", "pid", p.pid, "end", g.lastExit, "crashes", g.crashes)
	}
	g.mu.Unlock()
	p.stuck = !awaitEmpty(p.pid, g.opts.Grace+killPatience)
	g.mu.Lock()
	if p.kill != nil {
		p.kill.Stop()
	}
	if p.stuck {
		g.opts.Log.Error("a process outlived SIGKILL", "group", p.pid)
	}
	asked := p.asked
	g.mu.Unlock()
	close(p.gone)
	if final && !asked {
		g.finish(exitCode(p.cmd.ProcessState))
	}
}

// end signals p's group and has it killed when the grace is over; mu is held.
func (g *Group) end(p *process, signal syscall.Signal, grace time.Duration) {
	g.signalAll(p, signal)
	// A process that is stopped (SIGSTOP) takes no signal before it goes on.
	g.signalAll(p, syscall.SIGCONT)
	if p.kill == nil {
		p.kill = time.AfterFunc(grace, func() { g.signalAll(p, syscall.SIGKILL) })
	}
}

func (g *Group) signalAll(p *process, signal syscall.Signal) {
	select {
	case <-p.gone: // by now the id may be another's
	default:
		_ = syscall.Kill(-p.pid, signal)
	}
}

// scheduleRetry sets the next start; mu is held.
func (g *Group) scheduleRetry() {
	delay := g.opts.Backoff.Max
	// Beyond 16 doublings any First is beyond Max, or would overflow.
	if g.failures < 16 {
		delay = min(delay, g.opts.Backoff.First<<g.failures)
	}
	g.failures++
	g.state = api.StateBackoff
	g.stopRetry()
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() { g.again(&timer) })
	g.retry = timer
}

// again starts the process after the wait, unless that was cut short.
func (g *Group) again(timer **time.Timer) {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	due := g.retry != nil && g.retry == *timer
	if due {
		g.retry = nil
	}
	p := g.now
	g.mu.Unlock()
	if !due {
		return
	}
	if p != nil {
		<-p.gone
	}
	if _, err := g.launch(); err != nil {
		g.opts.Log.Error("starting again failed", "error", err)
	}
}

func (g *Group) stopRetry() {
	if g.retry != nil {
		g.retry.Stop()
		g.retry = nil
	}
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// command returns a command that will lead a process group of its own.
func command(argv []string, dir string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}
