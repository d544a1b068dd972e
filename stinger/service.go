package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/stinger/agent"
	"github.com/formicarium/formicarium/stinger/credential"
	"github.com/formicarium/formicarium/stinger/pull"
	"github.com/formicarium/formicarium/stinger/server"
	"github.com/formicarium/formicarium/stinger/supervise"
)

// answerGrace is how long requests in flight have once the service is gone:
// an operation that was cut short still gets its answer out.
const answerGrace = 2 * time.Second

// runService is "stinger run". The service has this process's own streams, so
// that its output passes through nobody.
func runService(ctx context.Context, command []string, getenv func(string) string, stderr io.Writer) error {
	cfg, err := configFromEnv(getenv, isWritable)
	if err != nil {
		return orAlone(cfg, command, stderr, fmt.Errorf("reading settings:\n%w", err))
	}
	log, err := run.Logger(stderr, "info")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(cfg.bind, strconv.Itoa(cfg.port)))
	if err != nil {
		return orAlone(cfg, command, stderr, fmt.Errorf("listening: %w", err))
	}
	defer listener.Close()
	options := pull.Options{URL: cfg.gitURL, App: cfg.app, State: cfg.state, Log: log}
	var keeper *credential.Keeper // nil where everybody who reaches the port is answered
	if cfg.auth == api.AuthDevspace {
		keeper = credential.New(credential.Options{Dir: cfg.identity, Hub: cfg.authority(), Log: log})
	}
	if cfg.isOfHub() {
		options.Transport = keeper.Transport()
	}
	puller, err := pull.Open(options)
	if err != nil {
		return orAlone(cfg, command, stderr, err)
	}
	defer puller.Close()
	if err := supervise.Adopt(ctx); err != nil {
		return err
	}
	a, group := newAgent(cfg, command, puller, log)
	log.Info("listening", "address", listener.Addr().String(), "app", cfg.app)
	return serve(ctx, listener, a, group, keeper, log)
}

// newAgent joins the parts.
func newAgent(cfg config, command []string, puller *pull.Puller, log *slog.Logger) (*agent.Agent, *supervise.Group) {
	scripts := supervise.Scripts{Dir: cfg.scripts, App: cfg.app, Command: command}
	o := supervise.Options{
		Command: scripts.Start, Dir: cfg.app, Grace: cfg.grace, Log: log,
		Stdin: serviceInput(), Stdout: os.Stdout, Stderr: os.Stderr,
	}
	var original *agent.Original
	if len(cfg.sockets) > 0 {
		sockets := supervise.NewSockets(cfg.bind, cfg.sockets)
		o.Sockets = func() *supervise.Sockets {
			if original.Runs() {
				return nil // it listens itself
			}
			return sockets
		}
	}
	if !cfg.waitForCode && len(command) > 0 {
		original = &agent.Original{Command: command, Hub: cfg.hub()}
		o.Final = original.Runs
		o.Command = func() ([]string, error) {
			if original.Runs() {
				return original.Command, nil
			}
			return scripts.Start()
		}
		o.In = func() string {
			if original.Runs() {
				return "" // that of this process, which the container's runtime chose
			}
			return cfg.app
		}
	}
	group := supervise.New(o)
	return agent.New(agent.Options{
		Puller: puller, Group: group, Scripts: scripts, StartAfterPull: cfg.startAfterPull, Rules: cfg.rules, Original: original, State: cfg.state,
		BuildTimeout: cfg.buildTimeout, Stdout: os.Stdout, Stderr: os.Stderr, Log: log,
	}), group
}

// orAlone returns the error where Stinger is what the container is for. Where
// the container has a purpose of its own, its command takes this process's
// place: it must not fail because of what was added to it.
func orAlone(cfg config, command []string, stderr io.Writer, err error) error {
	if cfg.waitForCode || len(command) == 0 {
		return err
	}
	path, lookErr := exec.LookPath(command[0])
	if lookErr != nil {
		return &run.ExitError{Code: 127, Err: errors.Join(err, fmt.Errorf("running the container's own command: %w", lookErr))}
	}
	fmt.Fprintf(stderr, "stinger: running the container's own command alone, no code will come: %v\n", err)
	return &run.ExitError{Code: 126, Err: fmt.Errorf("running %s: %w", path, syscall.Exec(path, command, os.Environ()))}
}

// serve runs the agent and its API until a signal ends them.
func serve(ctx context.Context, listener net.Listener, a *agent.Agent, group *supervise.Group, keeper *credential.Keeper, log *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var last atomic.Int32
	last.Store(int32(syscall.SIGTERM))
	stopPassing := passSignals(group, func(s syscall.Signal) {
		last.Store(int32(s))
		cancel(fmt.Errorf("Stinger is ending (%s)", s)) //nolint:staticcheck // ST1005: a name is capitalised
	})
	defer stopPassing()

	go func() {
		select {
		case <-group.Final():
			cancel(errors.New("the container's own command has ended"))
		case <-ctx.Done():
		}
	}()

	// The API answers as long as the agent works.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	var serveErr error
	var web sync.WaitGroup
	handler := server.New(ctx, a, log)
	if keeper != nil {
		saveMemory()
		web.Go(func() { keeper.Run(serving) })
		listener, handler = tls.NewListener(listener, keeper.ServerConfig()), keeper.Guard(handler)
	}
	web.Go(func() {
		// What strangers send is not the service's log's business.
		quiet := slog.NewLogLogger(log.Handler(), slog.LevelDebug)
		serveErr = run.Serve(serving, listener, &http.Server{Handler: handler, ErrorLog: quiet}, answerGrace)
		cancel(serveErr) // a service that cannot be told of code is of no use
	})
	err := a.Run(ctx, func() syscall.Signal { return syscall.Signal(last.Load()) })
	stopServing()
	web.Wait()
	code, final := group.FinalCode()
	if !final && a.IsOriginal() {
		code = group.LastCode() // it was asked to end
	}
	if err = errors.Join(err, serveErr); err == nil && code != 0 {
		return &run.ExitError{Code: code}
	}
	return err
}

// saveMemory collects more often. A probe's handshake each second leaves so much
// behind that 4 MB of it lie about with Go's own setting: 15 MB resident in place
// of 13, in every pod.
func saveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// passSignals sends signals on: those that end Stinger to the first call of
// end, then as a kill to the group; the others to the service.
func passSignals(group *supervise.Group, end func(syscall.Signal)) (stop func()) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT,
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	go func() {
		ending := false
		for s := range signals {
			number, _ := s.(syscall.Signal)
			switch number {
			case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
				if ending {
					group.Kill()
				} else {
					end(number)
				}
				ending = true
			default:
				group.Signal(number)
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
	}
}

// serviceInput returns what the service reads: this process's own input if
// that is a pipe or a file. A terminal would stop a process of another group
// that reads from it.
func serviceInput() *os.File {
	info, err := os.Stdin.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice != 0 {
		return nil
	}
	return os.Stdin
}
