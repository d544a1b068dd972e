package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// buildListener builds the service of testdata/listener.
func buildListener(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "listener")
	if out, err := exec.Command("go", "build", "-o", path, "./testdata/listener").CombinedOutput(); err != nil {
		t.Fatalf("building the listener: %v\n%s", err, out)
	}
	return path
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// ask connects once and returns all that it is told.
func ask(port int) (string, error) {
	connection, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Minute)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(connection)
	if err == nil && len(answer) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimSpace(string(answer)), err
}

// TestHandOver restarts a service, by request and by new code, while clients
// connect all the time. All are answered.
func TestHandOver(t *testing.T) {
	for name, extra := range map[string]string{"sockets stay": "X=", "sockets are shut down": "SHUT=1"} {
		t.Run(name, func(t *testing.T) {
			listener, port, admin := buildListener(t), freePort(t), freePort(t)
			p := start(t, map[string]string{"version": "1", ".fmc/start": "#!/bin/sh\nexec " + listener + "\n"},
				[]string{fmt.Sprintf("STINGER_LISTEN=http=%d,admin=%d", port, admin), "START_AFTER_PULL=true", extra})
			p.ready()
			if answer, err := ask(admin); err != nil || !strings.HasSuffix(answer, " 1") {
				t.Errorf("the second port = %q, %v", answer, err)
			}
			if extra == "X=" {
				restartUnderLoad(p, port)
			} else {
				var status api.StingerStatus
				p.call("POST", "/reset", "", &status)
				if answer, err := ask(port); err != nil || answer != fmt.Sprintf("%d 1", status.PID) {
					t.Errorf("after a shutdown and a restart = %q, %v", answer, err)
				}
			}
			p.call("POST", "/stop", "", &api.StingerStatus{})
			if answer, err := ask(port); err == nil {
				t.Errorf("stopped by request = %q, want the connection refused", answer)
			}
			p.call("POST", "/start", "", &api.StingerStatus{})
			if answer, err := ask(port); err != nil {
				t.Errorf("started again = %q, %v", answer, err)
			}
		})
	}
}

func restartUnderLoad(p *program, port int) {
	p.Helper()
	var over atomic.Bool
	var mu sync.Mutex
	answers := map[string]int{}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !over.Load() {
				answer, err := ask(port)
				if err != nil {
					p.Errorf("a connection during a restart: %v", err)
					return
				}
				mu.Lock()
				answers[answer]++
				mu.Unlock()
			}
		})
	}
	var want []string
	for i := range 10 {
		var status api.StingerStatus
		version := fmt.Sprint(i / 2)
		if i%2 == 0 {
			p.hub.Write("version", version, 0o644)
			p.call("POST", "/pull", `{"commit":"`+p.hub.Commit()+`"}`, &api.PullResult{})
			p.call("GET", "/status", "", &status)
		} else {
			p.call("POST", "/reset", "", &status)
		}
		answer := fmt.Sprintf("%d %s", status.PID, version)
		want = append(want, answer)
		p.eventually("an answer of the new process", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return answers[answer] > 0 || p.Failed()
		})
	}
	over.Store(true)
	clients.Wait()
	if len(answers) < len(want) {
		p.Errorf("%d processes answered, want %d", len(answers), len(want))
	}
}

// TestHandOverTellsWhatFails has a port that is in use, and a program that is
// not there.
func TestHandOverTellsWhatFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p := start(t, map[string]string{"f": ""}, []string{fmt.Sprintf("STINGER_LISTEN=%d", taken.Addr().(*net.TCPAddr).Port)}, "--", "sleep", "1000")
	var fault api.Error
	p.eventually("the reason", func() bool {
		return p.call("GET", "/ready", "", &fault) == 503 && strings.Contains(fault.Error, "address already in use")
	})
	p = start(t, map[string]string{"f": ""}, []string{fmt.Sprintf("STINGER_LISTEN=%d", freePort(t))}, "--", "no-such-program")
	p.eventually("the reason", func() bool {
		return p.call("GET", "/ready", "", &fault) == 503 && strings.Contains(fault.Error, "starting no-such-program")
	})
}

// TestSignalsReachWhatIsHandedOver: what stands between does not stay.
func TestSignalsReachWhatIsHandedOver(t *testing.T) {
	p := start(t, map[string]string{"f": ""}, []string{fmt.Sprintf("STINGER_LISTEN=%d", freePort(t))}, "--", "/bin/sh", "-c",
		`trap 'echo usr1 > got' USR1; echo "$LISTEN_PID $$ $LISTEN_FDS" > up; while :; do sleep 0.01; done`)
	pid := p.ready()
	p.eventually("the process", func() bool { return p.file("up") == fmt.Sprintf("%d %d 1", pid, pid) })
	p.signal(syscall.SIGUSR1, false)
	p.eventually("the signal", func() bool { return p.file("got") == "usr1" })
	if _, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/3", pid)); err != nil {
		t.Errorf("descriptor 3: %v", err)
	}
}
