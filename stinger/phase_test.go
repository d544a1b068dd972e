package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
	"github.com/formicarium/formicarium/stinger/gittest"
)

// binary is the program as it is shipped, built once for all tests here.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "stinger-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "stinger")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building stinger: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// program is a running Stinger.
type program struct {
	testing.TB
	hub            *gittest.Hub
	cmd            *exec.Cmd
	stdout, stderr testutil.Buffer
	dir, url       string
	client         *http.Client
	ended          chan struct{}
}

// start runs Stinger on a hub with the given files (path → content), or, where
// they are nil, on one that has no code.
func start(t testing.TB, files map[string]string, vars []string, args ...string) *program {
	t.Helper()
	p := prepare(t)
	for path, content := range files {
		p.hub.Write(path, content, 0o755)
	}
	if files != nil {
		p.hub.Commit()
	}
	p.begin(exec.Command(binary, append([]string{"run"}, args...)...), vars)
	return p
}

// prepare returns a program that is still to begin, and its hub.
func prepare(t testing.TB) *program {
	t.Helper()
	return &program{TB: t, hub: gittest.New(t), dir: t.TempDir(), client: http.DefaultClient, ended: make(chan struct{})}
}

// begin runs the command with Stinger's variables and waits until it listens.
func (p *program) begin(cmd *exec.Cmd, vars []string) {
	p.Helper()
	t := p.TB
	p.cmd = cmd
	p.cmd.Env = append(append(os.Environ(), "GIT_URL="+p.hub.URL, "APP_PATH="+p.dir+"/app", "STINGER_STATE="+p.dir+"/state",
		"STINGER_SCRIPTS="+p.dir+"/scripts", "STINGER_PORT=0", "STINGER_GRACE=20s"), vars...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = 10 * time.Second // should something hold the streams after all
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		// Not a kill: that would leave the service running.
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(time.Second):
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
			<-p.ended
		}
		if t.Failed() {
			t.Logf("stderr:\n%s", p.stderr.String())
		}
	})
	address := regexp.MustCompile(`listening address=(\S+)`)
	p.eventually("the address", func() bool { return address.MatchString(p.stderr.String()) })
	p.url = "http://" + address.FindStringSubmatch(p.stderr.String())[1]
}

func (p *program) eventually(what string, condition func() bool) {
	p.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	p.Fatalf("waited in vain for: %s", what)
}

func (p *program) call(method, path, body string, answer any) (status int) {
	p.Helper()
	request, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	response, err := p.client.Do(request)
	if err != nil {
		p.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		p.Fatal(err)
	}
	return response.StatusCode
}

// ready waits until the service runs and returns its process.
func (p *program) ready() int {
	p.Helper()
	var status api.StingerStatus
	p.eventually("readiness", func() bool { return p.call("GET", "/ready", "", &struct{}{}) == 200 })
	p.call("GET", "/status", "", &status)
	return status.PID
}

// signal sends the signal and, with wait, waits for the end.
func (p *program) signal(s syscall.Signal, wait bool) {
	p.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.Fatal(err)
	}
	if !wait {
		return
	}
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		p.Fatal("Stinger does not end")
	}
}

func (p *program) app(path string) string { return filepath.Join(p.dir, "app", path) }

func (p *program) file(path string) string {
	data, _ := os.ReadFile(p.app(path))
	return strings.TrimSpace(string(data))
}

// children returns the states of Stinger's children, by process.
func (p *program) children() map[int]string {
	states := map[int]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(p.cmd.Process.Pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			states[pid] = f[0]
		}
	}
	return states
}

func running(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(data), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

func TestASave(t *testing.T) {
	p := start(t, map[string]string{".fmc/start": "#!/bin/sh\nprintf 'hello \\377'\ncat greeting\nexec sleep 1000\n", "greeting": "one\n"},
		[]string{"START_AFTER_PULL=true"})
	first := p.ready()
	p.eventually("the output, as it is", func() bool { return p.stdout.String() == "hello \xffone\n" })

	p.hub.Write("greeting", "two\n", 0o644)
	commit := p.hub.Commit()
	var result api.PullResult
	if code := p.call("POST", "/pull", `{"commit":"`+commit+`"}`, &result); code != 200 || result.Error != "" {
		t.Fatalf("POST /pull = %d %+v", code, result)
	}
	if result.Commit != commit || result.Changed != 1 || !result.Restarted || result.PID == first || result.PID == 0 ||
		result.Timings.Fetch <= 0 || result.Timings.Apply <= 0 || result.Timings.Restart <= 0 {
		t.Errorf("result = %+v", result)
	}
	p.eventually("the new output", func() bool { return p.stdout.String() == "hello \xffone\nhello \xfftwo\n" })
	if _, err := os.Stat(p.app(".git")); err == nil {
		t.Error("there is a .git in the service's directory")
	}
	var status api.StingerStatus
	if code := p.call("POST", "/stop", "", &status); code != 200 || status.State != api.StateStopped {
		t.Errorf("POST /stop = %d %+v", code, status)
	}
	var fault api.Error
	if code := p.call("GET", "/ready", "", &fault); code != 503 || fault.Error == "" {
		t.Errorf("GET /ready = %d %+v", code, fault)
	}
	if code := p.call("POST", "/reset", "", &status); code != 200 || status.State != api.StateRunning || status.Commit != commit {
		t.Errorf("POST /reset = %d %+v", code, status)
	}
	p.signal(syscall.SIGTERM, true)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// TestOrphansAreReaped has a service that leaves a grandchild behind every
// 10 ms.
func TestOrphansAreReaped(t *testing.T) {
	p := start(t, map[string]string{"f": ""}, nil, "--", "/bin/sh", "-c",
		`i=0; while :; do (setsid sh -c 'echo $$ >> orphans' &); sleep 0.01; done`)
	service := p.ready()
	p.eventually("50 orphans", func() bool { return strings.Count(p.file("orphans"), "\n") >= 50 })
	p.eventually("no child but the service", func() bool {
		children := p.children()
		return len(children) == 1 && children[service] != "" && children[service] != "Z"
	})
}

// TestEndTakesTheGroup sends each of the signals that may end a container. The
// service obeys, its child ignores all and is killed after the grace.
func TestEndTakesTheGroup(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel() // the grace goes by in each
			p := start(t, map[string]string{"f": ""}, []string{"STINGER_GRACE=5s"}, "--", "/bin/sh", "-c",
				`trap 'echo term > got; exit' TERM; trap 'echo int > got; exit' INT; trap 'echo quit > got; exit' QUIT
				sh -c 'trap "" TERM INT QUIT; echo $$ > child; while :; do sleep 0.01; done' & 
				while :; do sleep 0.01; done`)
			service := p.ready()
			p.eventually("the child", func() bool { return p.file("child") != "" })
			child, _ := strconv.Atoi(p.file("child"))
			p.signal(s, true)
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			want := map[syscall.Signal]string{syscall.SIGTERM: "term", syscall.SIGINT: "int", syscall.SIGQUIT: "quit"}[s]
			if got := p.file("got"); got != want {
				t.Errorf("the service got %q, want %q", got, want)
			}
			if running(service) || running(child) {
				t.Errorf("processes run on: service %t, child %t", running(service), running(child))
			}
		})
	}
}

func TestSecondSignalKills(t *testing.T) {
	p := start(t, map[string]string{"f": ""}, []string{"STINGER_GRACE=1h"}, "--", "/bin/sh", "-c",
		`trap 'echo x >> term' TERM; : > up; while :; do sleep 0.01; done`)
	p.ready()
	p.eventually("the trap", func() bool { _, err := os.Stat(p.app("up")); return err == nil })
	p.signal(syscall.SIGTERM, false)
	p.eventually("the first signal", func() bool { return p.file("term") != "" })
	p.signal(syscall.SIGTERM, true)
}

func TestOtherSignalsArePassedOn(t *testing.T) {
	p := start(t, map[string]string{"f": ""}, nil, "--", "/bin/sh", "-c",
		`for s in HUP USR1 USR2 WINCH; do trap "echo $s >> got" $s; done; : > up; while :; do sleep 0.01; done`)
	p.ready()
	p.eventually("the traps", func() bool { _, err := os.Stat(p.app("up")); return err == nil })
	want := ""
	for _, s := range []struct {
		signal syscall.Signal
		name   string
	}{{syscall.SIGHUP, "HUP"}, {syscall.SIGUSR1, "USR1"}, {syscall.SIGUSR2, "USR2"}, {syscall.SIGWINCH, "WINCH"}} {
		p.signal(s.signal, false)
		want = strings.TrimSpace(want + "\n" + s.name)
		p.eventually(s.name, func() bool { return p.file("got") == want })
	}
}

func TestExitCodesAreRecorded(t *testing.T) {
	for script, want := range map[string]string{"exit 3": "exit 3", "kill -9 $$": "signal killed"} {
		p := start(t, map[string]string{"f": ""}, nil, "--", "/bin/sh", "-c", script)
		var status api.StingerStatus
		p.eventually("a crash", func() bool {
			p.call("GET", "/status", "", &status)
			return status.Crashes > 0
		})
		if status.LastExit != want {
			t.Errorf("%s: status = %+v, want %s", script, status, want)
		}
	}
}

func TestNothingToStart(t *testing.T) {
	p := start(t, map[string]string{"f": ""}, nil)
	var fault api.Error
	p.eventually("the reason", func() bool {
		return p.call("GET", "/ready", "", &fault) == 503 && strings.Contains(fault.Error, "there is no")
	})
	for _, way := range []string{p.dir + "/scripts/start", p.app(".fmc/start"), "command"} {
		if !strings.Contains(fault.Error, way) {
			t.Errorf("%q does not name %s", fault.Error, way)
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	cmd := exec.Command(binary, "run")
	cmd.Env = append(os.Environ(), "GIT_URL=x", "START_AFTER_PULL=ture")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), `START_AFTER_PULL="ture": want true or false`) ||
		!strings.Contains(string(out), "GIT_URL") {
		t.Errorf("stinger run = %v\n%s", err, out)
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // the second time over the first
		if out, err := exec.Command(binary, "install", dir).CombinedOutput(); err != nil {
			t.Fatalf("stinger install: %v\n%s", err, out)
		}
	}
	names, _ := os.ReadDir(dir)
	info, err := os.Stat(filepath.Join(dir, "stinger"))
	if err != nil || info.Mode() != 0o755 || len(names) != 1 {
		t.Fatalf("installed %v, %v, beside %v", info, err, names)
	}
	out, err := exec.Command(filepath.Join(dir, "stinger"), "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "stinger ") {
		t.Errorf("stinger version = %q, %v", out, err)
	}
	if out, err := exec.Command(binary, "install", filepath.Join(dir, "no")).CombinedOutput(); err == nil || !strings.Contains(string(out), "installing into") {
		t.Errorf("install into nothing = %v\n%s", err, out)
	}
	for _, args := range [][]string{{}, {"run", "x"}, {"install"}, {"frobnicate"}} {
		cmd := exec.Command(binary, args...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "usage:") {
			t.Errorf("stinger %v = %d\n%s", args, cmd.ProcessState.ExitCode(), out)
		}
	}
}

// TestWatchesNothing: what changes is told to it, and the node's watches are
// few.
func TestWatchesNothing(t *testing.T) {
	p := start(t, map[string]string{"f": ""}, nil, "--", "sleep", "1000")
	p.ready()
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 4 {
		t.Fatalf("%d descriptors, %v", len(entries), err)
	}
	for _, e := range entries {
		if target, _ := os.Readlink(filepath.Join(dir, e.Name())); strings.Contains(target, "notify") {
			t.Errorf("descriptor %s is %s", e.Name(), target)
		}
	}
}
