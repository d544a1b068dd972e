package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/stinger/gittest"
	"github.com/formicarium/formicarium/stinger/pull"
	"github.com/formicarium/formicarium/stinger/supervise"
)

// fixture is an agent over real parts: a hub, a directory, shell scripts.
type fixture struct {
	*testing.T
	hub              *gittest.Hub
	a                *Agent
	ctx              context.Context
	app, state, logs string
	scripts          string
	end              func()
}

const service = "echo started >> ../logs; exec sleep 1000\n"

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{T: t, hub: gittest.New(t), app: dir + "/app", state: dir + "/state", logs: dir + "/logs", scripts: dir + "/scripts"}
	if err := os.Mkdir(f.scripts, 0o755); err != nil {
		t.Fatal(err)
	}
	f.script("start", service)
	return f
}

func (f *fixture) script(name, content string) {
	f.Helper()
	if err := os.WriteFile(filepath.Join(f.scripts, name), []byte(content), 0o644); err != nil {
		f.Fatal(err)
	}
}

// run starts the agent as a new process would; change may alter its settings.
func (f *fixture) run(change func(*Options)) {
	f.Helper()
	p, err := pull.Open(pull.Options{URL: f.hub.URL, App: f.app, State: f.state})
	if err != nil {
		f.Fatal(err)
	}
	scripts := supervise.Scripts{Dir: f.scripts, App: f.app}
	opts := Options{
		Puller: p, Scripts: scripts, State: f.state, Stdout: io.Discard, Stderr: io.Discard,
		Group: supervise.New(supervise.Options{Command: scripts.Start, Dir: f.app, Grace: 5 * time.Second,
			Backoff: supervise.Backoff{First: time.Hour, Max: time.Hour}}),
		RetryFirst: 5 * time.Millisecond, RetryMax: 20 * time.Millisecond,
	}
	if change != nil {
		change(&opts)
	}
	f.a = New(opts)
	ctx, cancel := context.WithCancel(context.Background())
	f.ctx = ctx
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.a.Run(ctx, func() syscall.Signal { return syscall.SIGTERM }); err != nil {
			f.Errorf("Run = %v", err)
		}
	})
	f.end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		p.Close()
	})
	f.Cleanup(f.end)
}

func (f *fixture) running() int {
	f.Helper()
	f.eventually("a running process", func() bool { return f.a.Ready() == nil })
	return f.a.Status().PID
}

func (f *fixture) eventually(what string, condition func() bool) {
	f.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if condition() {
			return
		}
	}
	f.Fatalf("waited in vain for: %s; status %+v", what, f.a.Status())
}

func (f *fixture) pull(request api.PullRequest) api.PullResult {
	f.Helper()
	r := f.a.Pull(f.ctx, request)
	if r.Error != "" {
		f.Errorf("Pull(%+v) = %+v", request, r)
	}
	return r
}

// logged returns the lines that scripts wrote to ../logs. The end of the
// process that wrote them is not waited for.
func (f *fixture) logged() string {
	data, _ := os.ReadFile(f.logs)
	return strings.Join(strings.Fields(string(data)), " ")
}

var yes, no = new(true), new(false)

func TestWaitsForTheHubThenRuns(t *testing.T) {
	f := newFixture(t)
	f.hub.Down(true)
	f.run(nil)
	f.eventually("the hub's refusal in the status", func() bool { return strings.Contains(f.a.Status().LastError, "503") })
	if s := f.a.Status(); s.State != api.StateWaiting || f.a.Ready() == nil {
		t.Errorf("status without a hub = %+v", s)
	}
	if err := f.a.Start(f.ctx); err == nil || !strings.Contains(err.Error(), "no code") {
		t.Errorf("Start without code = %v", err)
	}
	f.hub.Down(false)
	f.eventually("the word that nothing was pushed", func() bool { return f.a.Status().LastError == pull.ErrNothingPushed.Error() })
	f.hub.Write("f", "1", 0o644)
	commit := f.hub.Commit()
	pid := f.running()
	if s := f.a.Status(); s.Commit != commit || s.State != api.StateRunning || s.LastError != "" || s.PID != pid || s.Restarts != 0 || s.PulledAt == nil {
		t.Errorf("status = %+v", s)
	}
}

func TestRestartOnlyAsAsked(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("f", "1", 0o644)
	f.hub.Commit()
	f.run(nil)
	first := f.running()
	f.eventually("the start", func() bool { return f.logged() == "started" }) // before it is stopped
	f.hub.Write("f", "2", 0o644)
	r := f.pull(api.PullRequest{Commit: f.hub.Commit()})
	if r.Changed != 1 || r.Restarted || r.PID != first {
		t.Errorf("pull = %+v, want one change and no restart", r)
	}
	f.script("cleanup.sh", "echo cleaned >> ../logs\n")
	r = f.pull(api.PullRequest{Restart: yes})
	if r.Changed != 0 || !r.Restarted || r.PID == first || r.PID == 0 || r.Timings.Restart <= 0 {
		t.Errorf("pull with restart = %+v", r)
	}
	f.eventually("cleanup before the start", func() bool { return f.logged() == "started cleaned started" })
	if err := f.a.Reset(f.ctx); err != nil {
		t.Error(err)
	}
	f.eventually("another cleanup and start", func() bool { return f.logged() == "started cleaned started cleaned started" })
	if s := f.a.Status(); s.Restarts != 2 || s.Crashes != 0 {
		t.Errorf("status = %+v", s)
	}
}

func TestStartAfterPull(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("f", "1", 0o644)
	f.hub.Commit()
	f.run(func(o *Options) { o.StartAfterPull = true })
	first := f.running()
	if r := f.pull(api.PullRequest{}); r.Restarted {
		t.Errorf("restarted for nothing: %+v", r)
	}
	f.hub.Write("f", "2", 0o644)
	f.hub.Commit()
	if r := f.pull(api.PullRequest{}); !r.Restarted || r.PID == first {
		t.Errorf("pull = %+v, want a restart", r)
	}
	f.hub.Write("f", "3", 0o644)
	f.hub.Commit()
	if r := f.pull(api.PullRequest{Restart: no}); r.Restarted || r.Changed != 1 {
		t.Errorf("pull = %+v, want none: the request says so", r)
	}
}

func TestStoppedByRequestStaysStopped(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("f", "1", 0o644)
	f.hub.Commit()
	f.run(func(o *Options) { o.StartAfterPull = true })
	f.running()
	if err := f.a.Stop(f.ctx); err != nil {
		t.Fatal(err)
	}
	if s := f.a.Status(); s.State != api.StateStopped || s.PID != 0 || f.a.Ready() == nil {
		t.Errorf("status = %+v", s)
	}
	f.hub.Write("f", "2", 0o644)
	f.hub.Commit()
	if r := f.pull(api.PullRequest{}); r.Changed != 1 || r.PID != 0 {
		t.Errorf("pull = %+v, want it applied and nothing started", r)
	}
	if err := f.a.Start(f.ctx); err != nil || f.a.Status().PID == 0 {
		t.Errorf("Start = %v", err)
	}
}

func TestNewCommitEndsTheBackoff(t *testing.T) {
	f := newFixture(t)
	f.script("start", "test -e good || exit 1; exec sleep 1000\n")
	f.hub.Write("f", "1", 0o644)
	bad := f.hub.Commit()
	f.run(nil)
	f.eventually("the back-off", func() bool { return f.a.Status().State == api.StateBackoff })
	if r := f.pull(api.PullRequest{Commit: bad}); r.Restarted {
		t.Errorf("the same commit is started again: %+v", r)
	}
	f.hub.Write("good", "1", 0o644)
	if r := f.pull(api.PullRequest{Commit: f.hub.Commit()}); !r.Restarted || r.PID == 0 {
		t.Errorf("pull = %+v, want a start", r)
	}
}

func TestBuild(t *testing.T) {
	f := newFixture(t)
	f.script("build", "echo built >> ../logs; echo compiling; if test -e broken; then echo line 7 is wrong >&2; exit 2; fi\n")
	f.hub.Write("f", "1", 0o644)
	f.hub.Commit()
	f.run(func(o *Options) { o.StartAfterPull = true })
	first := f.running()
	f.eventually("build before start", func() bool { return f.logged() == "built started" })
	good := f.hub.Head()

	f.hub.Write("broken", "", 0o644)
	broken := f.hub.Commit()
	r := f.a.Pull(f.ctx, api.PullRequest{Commit: broken})
	if !strings.Contains(r.Error, "exit 2") || !strings.Contains(r.Output, "line 7 is wrong") || r.PID != first || r.Restarted || r.Timings.Build <= 0 {
		t.Errorf("pull of what does not build = %+v, want the old process %d", r, first)
	}
	if s := f.a.Status(); s.State != api.StateRunning || !strings.Contains(s.LastError, "exit 2") {
		t.Errorf("status = %+v", s)
	}
	// Nothing changed, but nothing was built either.
	if r := f.a.Pull(f.ctx, api.PullRequest{Commit: broken}); !strings.Contains(r.Error, "exit 2") {
		t.Errorf("the same again = %+v", r)
	}
	if r := f.pull(api.PullRequest{Commit: good}); !r.Restarted || r.PID == first {
		t.Errorf("pull of the commit before = %+v", r)
	}
	if got := strings.Count(f.logged(), "built"); got != 4 {
		t.Errorf("%d builds, want 4", got)
	}
	f.pull(api.PullRequest{Commit: good, Restart: yes})
	if got := strings.Count(f.logged(), "built"); got != 4 {
		t.Errorf("%d builds, want no further one for a restart", got)
	}
}

func TestGoesOnWithoutTheHub(t *testing.T) {
	f := newFixture(t)
	f.script("build", "echo built >> ../logs; : > out\n")
	f.hub.Write("f", "1", 0o644)
	f.hub.Commit()
	f.run(nil)
	f.running()
	f.eventually("one build, one start", func() bool { return f.logged() == "built started" })
	f.end()
	f.hub.Down(true)
	f.run(nil)
	f.running()
	f.eventually("one build, two starts", func() bool { return f.logged() == "built started started" })
	f.end()
	// A container that lost its own file system has nothing built either.
	if err := os.RemoveAll(f.app); err != nil {
		t.Fatal(err)
	}
	f.run(nil)
	f.running()
	f.eventually("another build", func() bool { return f.logged() == "built started started built started" })
	f.hub.Write("f", "2", 0o644)
	commit := f.hub.Commit()
	f.hub.Down(false)
	f.eventually("the newest code", func() bool { return f.a.Status().Commit == commit })
}

// TestNewerPullTakesTheQueue holds one pull at the hub and asks for three
// more: the newest alone is carried out.
func TestNewerPullTakesTheQueue(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("f", "0", 0o644)
	f.hub.Commit()
	f.run(nil)
	f.running()
	var commits []string
	for _, content := range []string{"1", "2", "3", "4"} {
		f.hub.Write("f", content, 0o644)
		commits = append(commits, f.hub.Commit())
	}
	release := f.hub.Hold()
	defer release()
	var results [4]api.PullResult
	var asking sync.WaitGroup
	for i, commit := range commits {
		restart := (*bool)(nil)
		if i == 1 {
			restart = yes // a wish that the newer ones do not take back
		}
		asking.Go(func() { results[i] = f.a.Pull(f.ctx, api.PullRequest{Commit: commit, Restart: restart}) })
		f.eventually("the request in its place", func() bool {
			f.a.mu.Lock()
			defer f.a.mu.Unlock()
			if i == 0 {
				return len(f.a.turn) == 1 && f.a.queued == nil
			}
			return f.a.queued != nil && f.a.queued.request.Commit == commit
		})
	}
	f.hub.Requests()
	release()
	asking.Wait()
	for i, r := range results {
		want, superseded := commits[3], i == 1 || i == 2
		if i == 0 {
			want = commits[0]
		}
		if r.Commit != want || r.Superseded != superseded || r.Error != "" || r.Restarted != (i > 0) {
			t.Errorf("result %d = %+v, want commit %s, superseded %t", i, r, want, superseded)
		}
	}
	if n := len(f.hub.Requests()); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

// TestBuildThatTakesTooLong: what stopped it and the way out reach who pushed.
func TestBuildThatTakesTooLong(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("f", "1", 0o644)
	f.hub.Commit()
	f.run(func(o *Options) { o.BuildTimeout = 200 * time.Millisecond })
	pid := f.running()
	f.script("build", "echo fetching the world; exec sleep 1000\n")
	f.hub.Write("f", "2", 0o644)
	f.hub.Commit()
	r := f.a.Pull(f.ctx, api.PullRequest{Restart: yes})
	for _, part := range []string{"building: ", "it took more than 200ms", "formicarium.io/stinger-build-timeout", "STINGER_BUILD_TIMEOUT"} {
		if said := f.a.Status().LastError; !strings.Contains(r.Error, part) || !strings.Contains(said, part) {
			t.Errorf("the answer is %q and the status %q, want %q in both", r.Error, said, part)
		}
	}
	if r.PID != pid {
		t.Errorf("process %d runs, want the old one, %d", r.PID, pid)
	}
}

// TestEndDuringABuild ends the agent while a build runs: nothing of it stays.
func TestEndDuringABuild(t *testing.T) {
	f := newFixture(t)
	f.script("build", "echo $$ > ../builder; exec sleep 1000\n")
	f.hub.Write("f", "1", 0o644)
	f.hub.Commit()
	f.run(nil)
	f.eventually("the build", func() bool { return f.a.Status().State == api.StateBuilding })
	f.eventually("its process", func() bool {
		_, err := os.Stat(filepath.Join(filepath.Dir(f.app), "builder"))
		return err == nil
	})
	f.end()
	if s := f.a.Status(); s.PID != 0 {
		t.Errorf("status = %+v", s)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("it is over"))
	if r := f.a.Pull(ctx, api.PullRequest{}); !strings.Contains(r.Error, "it is over") {
		t.Errorf("Pull after the end = %+v", r)
	}
}
