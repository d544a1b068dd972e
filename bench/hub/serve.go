package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/server"
	"github.com/formicarium/formicarium/tanajura/smarthttp"
)

// serve is the hub: what the program tanajura serves, with its defaults.
func serve(ctx context.Context, dir string, stdout io.Writer) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h, err := hub.Open(dir, hub.Limits{}, log)
	if err != nil {
		return err
	}
	defer h.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	fmt.Fprintf(stdout, "http://%s\n", listener.Addr())
	handler := server.New(server.Options{Hub: h, Git: smarthttp.New(h, smarthttp.Options{Log: log}), Log: log})
	return run.Serve(ctx, listener, &http.Server{Handler: handler}, 10*time.Second)
}

// process is a running hub.
type process struct {
	cmd *exec.Cmd
	url string
}

func start(ctx context.Context, dir string, stderr io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("starting the hub: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "-serve", dir)
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the hub: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the hub: %w", err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("starting the hub: reading its address: %w", err)
	}
	return &process{cmd, strings.TrimSpace(url)}, nil
}

// memory returns the process's resident bytes.
func (p *process) memory() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading the hub's memory: %w", err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("reading the hub's memory: %w", err)
	}
	return resident * int64(os.Getpagesize()), nil
}

// stop ends the hub and waits for its collections.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the hub: %w", err)
	}
	return p.cmd.Wait()
}
