package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
)

// program is a syncer that runs.
type program struct {
	cmd  *exec.Cmd
	name string

	mu      sync.Mutex
	records []devspace.SyncRecord // of the plugin
	ended   chan struct{}         // closed when it has
}

// start starts a syncer whose kubeconfig is at that path.
func (st *stage) start(ctx context.Context, kubeconfig, name string, args ...string) (*program, error) {
	p := &program{name: name, ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, filepath.Join(st.Root, "bin", name), args...)
	p.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + st.folder, "KUBECONFIG=" + kubeconfig,
		"FMC_CONFIG=" + filepath.Join(st.folder, "config.json"), "XDG_CACHE_HOME=" + filepath.Join(st.folder, "cache"),
	}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	p.cmd.WaitDelay = 10 * time.Second
	p.cmd.Stderr = st.log
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w (run `make bench-sync`)", name, err)
	}
	go func() {
		p.read(output)
		_ = p.cmd.Wait() // it says itself what was wrong
		close(p.ended)
	}()
	return p, nil
}

func (p *program) read(output io.Reader) {
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadBytes('\n')
		var record devspace.SyncRecord
		if json.Unmarshal(line, &record) == nil && record.Kind != "" {
			p.mu.Lock()
			p.records = append(p.records, record)
			p.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// since returns the records after the first n, and how many there are.
func (p *program) since(n int) ([]devspace.SyncRecord, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]devspace.SyncRecord(nil), p.records[n:]...), len(p.records)
}

func (p *program) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stop ends it as ^C does.
func (p *program) stop() error {
	if p.hasEnded() {
		return nil
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("ending %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("ending %s: it went on for 20 s", p.name)
	}
}

// processor returns the processor time that it used, exact to 10 ms.
func (p *program) processor() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading the processor time of %s: %w", p.name, err)
	}
	// The name, in brackets, may have spaces.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("reading the processor time of %s: the kernel says %q", p.name, text)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the processor time of %s: %w", p.name, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// peak returns the most memory that it had, in MB.
func (p *program) peak() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of %s: %w", p.name, err)
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kib * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("reading the memory of %s: the kernel does not say", p.name)
}
