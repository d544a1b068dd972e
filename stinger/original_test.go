package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
)

// original is the built program in front of a container's own command. Where
// nothing else is said, there is no hub.
type original struct {
	*testing.T
	cmd            *exec.Cmd
	stdout, stderr testutil.Buffer
	dir            string
	ended          chan struct{}
}

func runOriginal(t *testing.T, vars []string, command ...string) *original {
	t.Helper()
	o := &original{T: t, dir: t.TempDir(), ended: make(chan struct{})}
	if err := os.Mkdir(filepath.Join(o.dir, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	o.cmd = exec.Command(binary, append([]string{"run", "--"}, command...)...)
	o.cmd.Dir = filepath.Join(o.dir, "work")
	o.cmd.Env = append(append(os.Environ(), "GIT_URL=http://127.0.0.1:1/x.git", "APP_PATH="+o.dir+"/app", "STINGER_STATE="+o.dir+"/state",
		"STINGER_SCRIPTS="+o.dir+"/scripts", "STINGER_PORT=0", "STINGER_WAIT_FOR_CODE=false"), vars...)
	o.cmd.Stdout, o.cmd.Stderr = &o.stdout, &o.stderr
	o.cmd.WaitDelay = 10 * time.Second
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = o.cmd.Wait()
		close(o.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-o.ended:
		default:
			// The second one is for what ignores the first.
			_ = o.cmd.Process.Signal(syscall.SIGTERM)
			time.Sleep(50 * time.Millisecond)
			_ = o.cmd.Process.Signal(syscall.SIGTERM)
			<-o.ended
		}
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", o.stdout.String(), o.stderr.String())
		}
	})
	return o
}

// code waits for the end and returns the exit code.
func (o *original) code() int {
	o.Helper()
	select {
	case <-o.ended:
	case <-time.After(time.Minute):
		o.Fatal("Stinger does not end")
	}
	return o.cmd.ProcessState.ExitCode()
}

func (o *original) says(text string) {
	o.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(o.stdout.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			o.Fatalf("waited in vain for %q", text)
		}
	}
}

func TestExitCodeIsTheContainers(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -9 $$": 137, "kill -TERM $$": 143} {
		o := runOriginal(t, nil, "/bin/sh", "-c", "echo once; "+script)
		if got := o.code(); got != want {
			t.Errorf("%s: exit code %d, want %d", script, got, want)
		}
		if got := o.stdout.String(); got != "once\n" {
			t.Errorf("%s: it ran not once: %q", script, got)
		}
	}
	for _, c := range []struct {
		command string
		want    int
	}{{"/no/such/program", 127}, {"no-such-program", 127}, {"/etc/passwd", 126}} {
		if got := runOriginal(t, nil, c.command).code(); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.command, got, c.want)
		}
	}
}

// The working directory, the environment and relative names are those that the
// command would have without Stinger, and a script meant for code is none.
func TestOriginalRunsWhereItWould(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "start"), []byte("#!/bin/sh\necho wrong\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	o := runOriginal(t, []string{"STINGER_SCRIPTS=" + dir, "OWN=value"}, "sh", "-c", `ln -s /bin/echo say; ./say "$(pwd) $OWN $0" $1`, "name", "arg")
	if got := o.code(); got != 0 {
		t.Errorf("exit code %d", got)
	}
	if got, want := o.stdout.String(), o.dir+"/work value name arg\n"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

// A hub that accepts and never answers holds up nothing for long.
func TestHubThatHangs(t *testing.T) {
	hub, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	o := runOriginal(t, []string{"GIT_URL=http://" + hub.Addr().String() + "/x.git"}, "/bin/sh", "-c", "exit 4")
	if got := o.code(); got != 4 {
		t.Errorf("exit code %d, want 4", got)
	}
}

// What the command leaves behind goes with it, as with the first process of a
// container.
func TestOriginalsEndIsTheEndOfAll(t *testing.T) {
	o := runOriginal(t, []string{"STINGER_GRACE=1h"}, "/bin/sh", "-c", `sh -c 'trap "" TERM; while :; do sleep 0.01; done' & echo $!; exit 5`)
	if got := o.code(); got != 5 {
		t.Errorf("exit code %d, want 5", got)
	}
}

// How long an end may take is for the pod's own grace period to say.
func TestOriginalsEndTakesItsTime(t *testing.T) {
	o := runOriginal(t, []string{"STINGER_GRACE=10ms"}, "/bin/sh", "-c", `trap 'sleep 1; echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done`)
	o.says("up")
	if err := o.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := o.code(); got != 7 || !strings.Contains(o.stdout.String(), "bye") {
		t.Errorf("exit code %d, want 7, and it says %q", got, o.stdout.String())
	}
}

// What is wrong with Stinger's own settings, some of which an application may
// use for itself, does not stop the application.
func TestWhatCannotBeSupervisedRunsAlone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, v := range []string{"GIT_URL=git@example:x.git", "APP_PATH=relative", "STINGER_PORT=" + port, "APP_PATH=/proc/nothing", "STINGER_STATE=/proc/nothing"} {
		o := runOriginal(t, []string{v, "STINGER_BIND=127.0.0.1"}, "/bin/sh", "-c", `echo $$; exit 6`)
		if got := o.code(); got != 6 || !strings.Contains(o.stderr.String(), "alone") {
			t.Errorf("%s: exit code %d, want 6", v, got)
		}
	}
	cmd := exec.Command(binary, "run", "--", "/bin/sh", "-c", "exit 6")
	cmd.Env = append(os.Environ(), "GIT_URL=nonsense")
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("with code to wait for: %v, want exit code 1", err)
	}
}

// The container's own command runs until there is code; from then on ends are
// crashes.
func TestCodeTakesTheOriginalsPlace(t *testing.T) {
	p := start(t, nil, []string{"STINGER_WAIT_FOR_CODE=false"}, "--", "/bin/sh", "-c",
		`if test -e code; then echo code; test -e last && exit 3; else echo original; fi; trap 'exit 9' TERM; while :; do sleep 0.01; done`)
	p.eventually("the original", func() bool { return strings.HasPrefix(p.stdout.String(), "original\n") })
	first := p.ready()
	var status api.StingerStatus
	if code := p.call("POST", "/reset", "", &status); code != 200 || status.State != api.StateRunning || status.PID == first || status.Commit != "" {
		t.Errorf("POST /reset = %d %+v", code, status)
	}
	p.eventually("the original again", func() bool { return p.stdout.String() == "original\noriginal\n" })

	p.hub.Write("code", "x", 0o644)
	var result api.PullResult
	// Stinger looks for code by itself, too, and may have been the first.
	if code := p.call("POST", "/pull", `{"commit":"`+p.hub.Commit()+`"}`, &result); code != 200 || result.Error != "" {
		t.Fatalf("POST /pull = %d %+v", code, result)
	}
	p.eventually("the code", func() bool { return strings.HasSuffix(p.stdout.String(), "code\n") })
	p.hub.Write("last", "x", 0o644)
	p.call("POST", "/pull", `{"commit":"`+p.hub.Commit()+`","restart":true}`, &result)
	p.eventually("a crash that is no end", func() bool {
		p.call("GET", "/status", "", &status)
		return status.Crashes > 0 && status.LastExit == "exit 3"
	})
}

// Code that the hub has, or that an earlier container of the pod got, is what
// runs first.
func TestCodeThatIsThereRunsFirst(t *testing.T) {
	command := []string{"/bin/sh", "-c", `if test -e code; then echo code; else echo original; fi; exec sleep 1000`}
	p := start(t, map[string]string{"code": "x"}, []string{"STINGER_WAIT_FOR_CODE=false"}, append([]string{"--"}, command...)...)
	p.ready()
	p.eventually("the code", func() bool { return p.stdout.String() != "" })
	p.signal(syscall.SIGTERM, true)
	if code := p.cmd.ProcessState.ExitCode(); p.stdout.String() != "code\n" || code != 0 {
		t.Errorf("it says %q, and ends with %d, want 0", p.stdout.String(), code)
	}
	again := runOriginal(t, []string{"APP_PATH=" + p.dir + "/app", "STINGER_STATE=" + p.dir + "/state"}, command...)
	again.says("\n")
	if got := again.stdout.String(); got != "code\n" {
		t.Errorf("without the hub it says %q", got)
	}
}

// Any user will do, as where a cluster gives each namespace a range of users of
// its own: no name, no home, no right but to what everybody may write to.
func TestRandomUser(t *testing.T) {
	bin, volumes := t.TempDir(), t.TempDir()
	// The directory that holds both is the test's user's own.
	if err := os.Chmod(filepath.Dir(bin), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, "install", bin).CombinedOutput(); err != nil {
		t.Fatalf("stinger install: %v\n%s", err, out)
	}
	env := []string{"PATH=/usr/bin:/bin", "STINGER_PORT=0", "STINGER_WAIT_FOR_CODE=false", "GIT_URL=http://127.0.0.1:1/x.git"}
	for name, dir := range map[string]string{"APP_PATH": "app", "STINGER_STATE": "state"} {
		dir = filepath.Join(volumes, dir)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o777); err != nil { // as an emptyDir is
			t.Fatal(err)
		}
		env = append(env, name+"="+dir)
	}
	cmd := exec.Command(filepath.Join(bin, "stinger"), "run", "--", "sh", "-c", "id -u; exit 3")
	cmd.Env, cmd.Dir = env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000680000, Gid: 0, NoSetGroups: true}}
	var stderr testutil.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || string(out) != "1000680000\n" || strings.Contains(stderr.String(), "alone") {
		t.Errorf("%v, want exit code 3; it says %q\n%s", err, out, stderr.String())
	}
}
