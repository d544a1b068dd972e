// Package run starts and ends programs: streams, signals, exit codes and
// servers that stop gracefully.
//
//	func main() { os.Exit(run.Main("tanajura", serve)) }
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Program is a program without its process: what main would do, testable.
type Program func(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error

// ExitError is an error with an exit code of its own. Where Err is nil nothing
// is printed.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// Main runs program with the process's arguments, environment and streams and
// returns the exit code: 0, an ExitError's, or 1 with "name: error" on stderr.
// The context ends with the first SIGINT or SIGTERM; a second one ends the
// process at once, with 130.
func Main(name string, program Program) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(130)
	}()
	return ExitCode(name, program(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr), os.Stderr)
}

// ExitCode prints err, where there is something to print, and returns its exit
// code.
func ExitCode(name string, err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	var exit *ExitError
	if !errors.As(err, &exit) {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
	if exit.Err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, exit.Err)
	}
	return exit.Code
}

// Logger returns a structured logger in text form at the named level: debug,
// info, warn or error.
func Logger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("parsing log level %q: want debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
}

// ReadHeaderTimeout bounds how long a client may take to send a request's
// head: 10 s, as much as a slow link needs and too little to hold a listener's
// connections for ever.
const ReadHeaderTimeout = 10 * time.Second

// Serve serves handler on listener until ctx ends, then gives requests in
// flight up to grace to finish. It returns nil after an orderly end.
func Serve(ctx context.Context, listener net.Listener, server *http.Server, grace time.Duration) error {
	if server.ReadHeaderTimeout == 0 {
		server.ReadHeaderTimeout = ReadHeaderTimeout
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	// A fresh context: the one that ended would give requests in flight no
	// time at all.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		server.Close()
		return fmt.Errorf("stopping the server on %s: %w", listener.Addr(), err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", listener.Addr(), err)
	}
	return nil
}
