package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000"
	for _, name := range []string{"(etcd)", "(a b)", "(a) S (b)", "())"} {
		state, start, err := parseStat([]byte("17 " + name + rest))
		if err != nil || state != "S" || start != "987654" {
			t.Errorf("%s: got %q %q %v", name, state, start, err)
		}
	}
	for _, bad := range []string{"", "17", "17 (x", "17 (x) S 1"} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseIdentity(t *testing.T) {
	id := identity{17, "987654", "boot"}
	if got, err := parseIdentity(id.String()); err != nil || got != id {
		t.Errorf("got %v %v", got, err)
	}
	// A signal to 0, -1 or 1 would hit more than one process, or the first.
	for _, bad := range []string{"", "17", "0 1 b", "-1 1 b", "1 1 b", "x 1 b", "17 1 b more"} {
		if _, err := parseIdentity(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// sleeper starts a process that is no daemon's, with a pid file that claims it.
func sleeper(t *testing.T, l Layout, change func(*identity)) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	change(&id)
	if err := writeFile(l.pidFile(kubelet), []byte(id.String())); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestStopLeavesReusedPidAlone(t *testing.T) {
	for name, change := range map[string]func(*identity){
		"another start time": func(id *identity) { id.start += "1" },
		"another boot":       func(id *identity) { id.boot = "before" },
	} {
		t.Run(name, func(t *testing.T) {
			l := testLayout(t.TempDir())
			cmd := sleeper(t, l, change)
			l.stop(time.Second)
			if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
				t.Fatal("a process that the node did not start was stopped")
			}
			if _, err := identify(cmd.Process.Pid); err != nil {
				t.Fatal("a process that the node did not start was stopped")
			}
			if _, err := os.Stat(l.pidFile(kubelet)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the pid file is still there: %v", err)
			}
		})
	}
}

func TestStopEndsOwnProcess(t *testing.T) {
	l := testLayout(t.TempDir())
	cmd := sleeper(t, l, func(*identity) {})
	if id, ok := l.running(kubelet); !ok || id.pid != cmd.Process.Pid {
		t.Fatalf("got %v %v, want the process to run", id, ok)
	}
	l.stop(5 * time.Second)
	if _, err := identify(cmd.Process.Pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the process still runs: %v", err)
	}
}

func TestLogTail(t *testing.T) {
	l := testLayout(t.TempDir())
	lines := strings.Repeat("early\n", 30) + strings.Repeat("late\n", 20)
	if err := writeFile(l.log(etcd), []byte(lines)); err != nil {
		t.Fatal(err)
	}
	got := l.logTail(etcd)
	if strings.Contains(got, "early") || strings.Count(got, "late") != 20 {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(got, filepath.Join(l.Dir, "logs")) {
		t.Error("it does not say which file it is")
	}
}

// daemonScript puts a script in the place of etcd.
func daemonScript(t *testing.T, l Layout, script string) daemon {
	t.Helper()
	d := l.daemon(etcd)
	if err := writeFile(d.binary, []byte("#!/bin/sh\n"+script+"\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.binary, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDaemonThatEnds(t *testing.T) {
	l := testLayout(t.TempDir())
	p, err := l.spawn(daemonScript(t, l, "echo address in use >&2; exit 3"), os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	err = p.wait(t.Context(), func(context.Context) error { return errors.New("no answer") })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
	if tail := l.logTail(etcd); !strings.Contains(tail, "address in use") {
		t.Errorf("the log says %q", tail)
	}
}

func TestDaemonSeesNothingOfTheCaller(t *testing.T) {
	t.Setenv("KUBECONFIG", "/their/kubeconfig")
	t.Setenv("HTTPS_PROXY", "http://proxy.example")
	l := testLayout(t.TempDir())
	p, err := l.spawn(daemonScript(t, l, "env"), os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	<-p.exited
	b, err := os.ReadFile(l.log(etcd))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "their") || strings.Contains(string(b), "PROXY") || !strings.Contains(string(b), "HOME="+l.Dir) {
		t.Errorf("its environment: %s", b)
	}
}

func TestDaemonIsInItsOwnSession(t *testing.T) {
	l := testLayout(t.TempDir())
	p, err := l.spawn(daemonScript(t, l, "exec sleep 60"), os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	id, ok := l.running(etcd)
	if !ok {
		t.Fatal("its pid file does not name it")
	}
	if group, err := syscall.Getpgid(id.pid); err != nil || group != id.pid {
		t.Errorf("it is in the process group %d (%v): ^C would reach it", group, err)
	}
	l.stop(5 * time.Second)
	<-p.exited
}

func TestRestartNamesWhatCannotBe(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	for name, want := range map[string]string{"apiserver": "want one of", apiserver: "does not run"} {
		if err := l.Restart(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Restart(%q) = %v, want an error with %q", name, err, want)
		}
	}
}
