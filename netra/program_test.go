package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// captured returns a pod in which netra runs and traffic is redirected, and the
// rest of the world with a collector.
func captured(t *testing.T) (pod, peer netns, spans *collector, stop func() error) {
	t.Helper()
	pod, peer = podAndPeer(t)
	spans = newCollector(t, peer)
	stop = startNetra(t, pod, "JAEGER_SERVICE_NAME=orders", "JAEGER_ENDPOINT=http://"+peerV4+":14268/api/traces", "JAEGER_REPORTER_FLUSH_INTERVAL=20ms",
		"NETRA_TRACING_CONTEXT_EXPIRATION_MILLISECONDS=60000") // however long the machine stalls
	capture(t, pod)
	return pod, peer, spans, stop
}

// program starts a real program in a namespace, which is ended with the test,
// and waits until it listens.
func (n netns) program(listens string, name string, args ...string) {
	t := n.t
	t.Helper()
	cmd := exec.Command(name, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	// The whole group ends, and with it whatever it has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if err := n.do(cmd.Start); err != nil {
		t.Fatalf("starting %s: %v; the Makefile's target deps installs it", name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	over := false
	t.Cleanup(func() {
		if !over {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(patience):
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				<-ended
			}
		}
		if t.Failed() {
			t.Logf("%s's log:\n%s", name, log.String())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := n.dial(listens); err == nil {
			conn.Close()
			return
		}
		select {
		case err := <-ended:
			over = true
			t.Fatalf("%s ended: %v", name, err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s", name, listens)
		}
	}
}

// output runs a program in a namespace and returns what it prints.
func (n netns) output(name string, args ...string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := n.do(cmd.Start); err != nil {
		n.t.Fatalf("starting %s: %v; the Makefile's target deps installs it", name, err)
	}
	if err := cmd.Wait(); err != nil {
		n.t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return stdout.String()
}

// lines starts a program in a namespace whose output is read while it runs.
func (n netns) lines(name string, args ...string) io.Reader {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.do(cmd.Start); err != nil {
		n.t.Fatalf("starting %s: %v; the Makefile's target deps installs it", name, err)
	}
	n.t.Cleanup(func() { cancel(); cmd.Wait() })
	return out
}

// await returns the spans that match once there are n of them.
func (c *collector) await(t *testing.T, n int, what string, match func(*thriftgen.Span) bool) []*thriftgen.Span {
	t.Helper()
	var found []*thriftgen.Span
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		found = nil
		c.mu.Lock()
		for _, s := range c.spans {
			if match(s) {
				found = append(found, s)
			}
		}
		c.mu.Unlock()
		if len(found) == n {
			return found
		}
		if len(found) > n || time.Now().After(deadline) {
			t.Fatalf("%d spans of %s arrived, want %d: %v", len(found), what, n, found)
		}
	}
}

// having returns a match for spans with these tags.
func having(tags map[string]string) func(*thriftgen.Span) bool {
	return func(s *thriftgen.Span) bool {
		for key, want := range tags {
			if anyTag(s, key) != want {
				return false
			}
		}
		return true
	}
}

// anyTag returns a tag's value, whatever its type, as text.
func anyTag(s *thriftgen.Span, key string) string {
	for _, t := range s.Tags {
		switch {
		case t.Key != key:
		case t.VStr != nil:
			return *t.VStr
		case t.VLong != nil:
			return fmt.Sprint(*t.VLong)
		case t.VBool != nil:
			return fmt.Sprint(*t.VBool)
		}
	}
	return ""
}
