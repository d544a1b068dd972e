package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/pprof"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/webhook/certificate"
	"github.com/formicarium/formicarium/webhook/inject"
	"github.com/formicarium/formicarium/webhook/notice"
	"github.com/formicarium/formicarium/webhook/server"
)

// ready is what the server says first, a line of JSON.
type ready struct {
	Address string `json:"address"`
	CA      []byte `json:"ca"`
}

// namespaces is server.Namespaces by a table of nothing: no namespace opts in.
type namespaces struct{}

func (namespaces) Labels(context.Context, string) (map[string]string, error) { return nil, nil }

// serve serves until in ends.
func serve(profile string, in io.Reader, out io.Writer) error {
	if profile != "" {
		file, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	pair, err := certificate.Make(api.WebhookNames(), time.Hour, time.Now())
	if err != nil {
		return err
	}
	key, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{key}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	handler := server.New(server.Options{
		Settings: benchSettings(), Namespaces: namespaces{}, Log: slog.New(slog.NewTextHandler(null, nil)), Notify: func(notice.Notice) {},
	})
	if err := json.NewEncoder(out).Encode(ready{listener.Addr().String(), pair.CA}); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		listener.Close()
	}()
	err = (&http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}).Serve(listener)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func benchSettings() inject.Settings {
	resources := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("24Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
	return inject.Settings{
		Version: "bench", NetraImage: "registry.example/netra:1", NetraInitImage: "registry.example/netra-init:1", StingerImage: "registry.example/stinger:1",
		PullPolicy: corev1.PullIfNotPresent, JaegerEndpoint: "http://jaeger.fmc-system:14268/api/traces", HubURL: "https://tanajura:24090",
		NativeSidecar: true, NetraResources: resources, InitResources: resources,
	}
}

// process is the server's.
type process struct {
	ready
	cmd *exec.Cmd
	in  io.Closer
}

// startServer starts this program again, as the server.
func startServer(ctx context.Context, profile string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-serve", "-profile="+profile)
	// One processor, and the rest as the webhook's Deployment has it.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=400", "GOMEMLIMIT=96MiB")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	p := &process{cmd: cmd, in: in}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p.ready)
	}
	if err != nil {
		return nil, fmt.Errorf("waiting for the server: %w", errors.Join(err, p.stop()))
	}
	return p, nil
}

// stop ends the server, and once only.
func (p *process) stop() error {
	if p.cmd == nil {
		return nil
	}
	p.in.Close()
	err := p.cmd.Wait()
	p.cmd = nil
	return err
}

// processor returns the processor time that the server has used, by its clock.
func (p *process) processor() time.Duration {
	// The kernel numbers a process's clock so: the complement of its number,
	// and 2 for user and system time together (clock_getcpuclockid(3)).
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid)<<3|2, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
