package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// process is a running netra.
type process struct {
	pod  netns
	pid  int
	stop func() error // as a kubelet does, and the program's outcome
}

// startNetra starts the test binary as netra in the pod, as netra's user, and
// waits until it is ready. The returned function stops it as a kubelet does.
func startNetra(t *testing.T, pod netns, env ...string) (stop func() error) {
	t.Helper()
	// The application of most tests listens until their end.
	return startProcess(t, pod, []string{copyOfSelf(t)}, append([]string{"NETRA_TEST_MAIN=true", "NETRA_DRAIN_TIMEOUT=1s"}, env...)...).stop
}

// startProcess starts netra by this command line.
func startProcess(t *testing.T, pod netns, args []string, env ...string) *process {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: api.NetraUID, Gid: api.NetraUID}}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := pod.do(cmd.Start); err != nil {
		t.Fatalf("starting netra: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p := &process{pod: pod, pid: cmd.Process.Pid}
	p.stop = sync.OnceValue(func() error {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			cmd.Process.Kill()
			return fmt.Errorf("not on SIGTERM: %w", <-ended)
		}
	})
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("netra's log:\n%s", log.String())
		}
	})
	client := clientIn(pod)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		answer, err := client.Get("http://127.0.0.1:14958/readyz")
		if err == nil && answer.StatusCode == http.StatusOK {
			answer.Body.Close()
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("netra is not ready: %v\n%s", err, log.String())
		}
	}
}

// build builds netra as it is shipped, without the race detector, whose own
// memory and descriptors would be measured else.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(publicDir(t), "netra")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building netra: %v\n%s", err, out)
	}
	return path
}

// fetch returns a page of netra's, asked for within the pod.
func (p *process) fetch(t *testing.T, url string) string {
	t.Helper()
	answer, err := clientIn(p.pod).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s, %v", url, answer.Status, err)
	}
	return string(text)
}

// metric returns the value of a series.
func (p *process) metric(t *testing.T, series string) int {
	t.Helper()
	return after(t, p.fetch(t, "http://127.0.0.1:14958/metrics"), series)
}

// after returns the number that follows a word at the beginning of a line.
func after(t *testing.T, text, word string) int {
	t.Helper()
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(line, word)
		if fields := strings.Fields(value); ok && len(fields) > 0 {
			n, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatalf("%s is %q", word, value)
			}
			return n
		}
	}
	t.Fatalf("there is no %q in\n%s", word, text)
	return 0
}

// descriptors lists what netra has open.
func (p *process) descriptors(t *testing.T) (targets []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // else it is closed by now
			targets = append(targets, target)
		}
	}
	return targets
}

// copyOfSelf copies the test binary to where every user may run it.
func copyOfSelf(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(publicDir(t), "netra")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// publicDir returns a directory that every user may read.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "netra-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
