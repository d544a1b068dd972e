package bed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/formicarium/formicarium/bench/netra/load"
)

// Measurement is what a load did, and what it cost.
type Measurement struct {
	Command    string       `json:"command"`
	Load       *load.Result `json:"load"`
	SidecarCPU float64      `json:"sidecar_cpu_seconds"` // of the whole run of the client
	AppCPU     float64      `json:"app_cpu_seconds"`
	ClientCPU  float64      `json:"client_cpu_seconds"`
	Seconds    float64      `json:"seconds"`
	// OtherCores is how many processors all else on the machine took.
	OtherCores float64 `json:"other_cores"`
	Memory     Memory  `json:"memory"` // the sidecar's, at the end
}

// Measure runs the load generator with these flags, and accounts for what the
// others do meanwhile.
func (b *Bed) Measure(ctx context.Context, flags ...string) (*Measurement, error) {
	sidecar, app := b.sidecarPIDs(), descendants(b.app.pid)
	if err := resetPeaks(sidecar); err != nil {
		return nil, err
	}
	began := time.Now()
	machine, err := machineSeconds()
	if err != nil {
		return nil, err
	}
	sidecarCPU, appCPU := cpuSeconds(sidecar), cpuSeconds(app)
	m := &Measurement{}
	if err := b.runClient(ctx, m, flags); err != nil {
		return nil, err
	}
	m.SidecarCPU, m.AppCPU = cpuSeconds(sidecar)-sidecarCPU, cpuSeconds(app)-appCPU
	after, err := machineSeconds()
	if err != nil {
		return nil, err
	}
	m.Seconds = time.Since(began).Seconds()
	m.OtherCores = max(0, after-machine-m.SidecarCPU-m.AppCPU-m.ClientCPU) / m.Seconds
	if err := b.Alive(); err != nil {
		return nil, err
	}
	m.Memory, err = memory(sidecar)
	return m, err
}

func (b *Bed) runClient(ctx context.Context, m *Measurement, flags []string) error {
	cmd := exec.Command(b.settings.Client, append([]string{"-target", AppAddr.String()}, flags...)...)
	m.Command = strings.Join(cmd.Args, " ")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = attributes(0)
	if err := b.cli.do(cmd.Start); err != nil {
		return fmt.Errorf("starting the load generator: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return errors.Join(context.Cause(ctx), fmt.Errorf("running %s: %w\n%s", m.Command, err, stderr.Bytes()), b.Alive())
	}
	m.ClientCPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if err := json.Unmarshal(stdout.Bytes(), &m.Load); err != nil {
		return fmt.Errorf("reading the load generator's result: %w", err)
	}
	return nil
}

// sidecarPIDs returns the sidecar's processes; none without one.
func (b *Bed) sidecarPIDs() []int {
	if b.sidecar == nil {
		return nil
	}
	return descendants(b.sidecar.pid)
}

// Memory returns what the sidecar holds now.
func (b *Bed) Memory() (Memory, error) { return memory(b.sidecarPIDs()) }

// ResetPeak begins a new peak of the sidecar's memory.
func (b *Bed) ResetPeak() error { return resetPeaks(b.sidecarPIDs()) }

// Dial connects to the application as a client does.
func (b *Bed) Dial() (net.Conn, error) { return b.cli.dial(AppAddr.String()) }

// WaitForAnswer returns when the application has answered through the sidecar,
// and the path is warm.
func (b *Bed) WaitForAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		_, err := get(ctx, b.cli, "http://"+AppAddr.String()+"/")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for the first answer: %w", err), b.Alive())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// PodGet asks a server inside the pod, without the sidecar.
func (b *Bed) PodGet(ctx context.Context, url string) ([]byte, error) { return get(ctx, b.pod, url) }

// get asks from inside a namespace, on a connection of its own.
func get(ctx context.Context, n *namespace, url string) ([]byte, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(_ context.Context, _, address string) (net.Conn, error) { return n.dial(address) },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", url, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for %s: %s", url, response.Status)
	}
	return body, nil
}

// Quiet waits until the rest of the machine takes less than so many
// processors, for up to patience.
func Quiet(ctx context.Context, cores float64, patience time.Duration) error {
	const look = 500 * time.Millisecond
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		before, err := machineSeconds()
		if err != nil {
			return err
		}
		began := time.Now()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(look):
		}
		after, err := machineSeconds()
		if err != nil {
			return err
		}
		if (after-before)/time.Since(began).Seconds() < cores {
			return nil
		}
	}
	return nil
}
