// Package agent joins a puller and a process: it decides when to build, when
// to restart, and in which order.
//
//	a := agent.New(agent.Options{Puller: p, Group: g, Scripts: scripts})
//	go a.Run(ctx)                     // first code, first start
//	result := a.Pull(ctx, api.PullRequest{Commit: commit})
//
// One operation runs at a time. Of pulls that wait only the newest is kept:
// the request that it replaces is answered with its result.
//
// What a pull that changed something is followed by is for the rules to say
// (package internal/reload), and where they say nothing for START_AFTER_PULL:
// the build script runs, if there is one; if it fails, the process that runs
// goes on, and the build and what was to follow it stay due. Then the process is
// restarted (stopped, cleanup script, started), or reloaded in place, or
// signalled, or left alone. The request may ask for a restart, or that the
// process is left alone. One that does not run is started in any case, whether it
// is the first time or it keeps crashing, unless it was stopped by request.
//
// A reset, and a start of what does not run, build first where the present tree
// is not built, and fail with the build: no request starts what is half built.
//
// An Original, where there is one, runs until the first code is here and built.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/reload"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/stinger/pull"
	"github.com/formicarium/formicarium/stinger/supervise"
)

// cleanupLimit is so short because nothing runs meanwhile.
const cleanupLimit = time.Minute

// Options are an Agent's parts and settings.
type Options struct {
	Puller         *pull.Puller
	Group          *supervise.Group // its command is Scripts.Start
	Scripts        supervise.Scripts
	StartAfterPull bool
	Rules          reload.Rules
	// BuildTimeout is the longest that a build may take; zero is DefaultBuildTimeout.
	BuildTimeout time.Duration
	// Original is what runs until there is code; nil is nothing.
	Original *Original
	// State is a directory for the agent's own record.
	State          string
	Stdout, Stderr io.Writer // of builds and cleanups
	Log            *slog.Logger
	// RetryFirst and RetryMax bound the wait between two attempts to get the
	// first code; zero is 100 ms and 5 s.
	RetryFirst, RetryMax time.Duration
}

// Agent runs one service. Its methods may be called at the same time.
type Agent struct {
	opts Options

	turn chan struct{} // holds one value while an operation runs

	mu       sync.Mutex // guards what follows
	queued   *pullCall  // waits for its turn and may still be replaced
	building bool
	byHand   bool // stopped by request: only a request starts it
	pulled   bool // at least once in this process
	pulledAt time.Time
	faults   [faultKinds]string // "" where there is none

	due reload.Decision // what earlier pulls asked for in vain; for whoever has the turn
}

// New returns an Agent at rest.
func New(opts Options) *Agent {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.RetryFirst == 0 {
		opts.RetryFirst = 100 * time.Millisecond
	}
	if opts.RetryMax == 0 {
		opts.RetryMax = 5 * time.Second
	}
	if opts.BuildTimeout == 0 {
		opts.BuildTimeout = DefaultBuildTimeout
	}
	return &Agent{opts: opts, turn: make(chan struct{}, 1)}
}

// Run starts what an earlier process of the container left, gets the newest
// code from the hub, however long that takes, and starts it. When ctx ends it
// stops the process group with the signal that stop returns then, and returns.
// An Original is given all the time that it takes: how much it has is for the
// pod to say.
func (a *Agent) Run(ctx context.Context, stop func() syscall.Signal) error {
	a.boot(ctx)
	<-ctx.Done()
	// Operations under way see that ctx has ended; the group has to stop even
	// while they do not, since the container's own grace is running.
	end := a.opts.Group.Stop
	if a.opts.Original.Runs() {
		end = a.opts.Group.Ask
	}
	err := end(stop())
	a.turn <- struct{}{} // for ever: nothing starts any more
	// What an operation may have started in between.
	if lateErr := a.opts.Group.Stop(syscall.SIGKILL); lateErr != nil {
		return lateErr
	}
	return err
}

// boot returns when the service has its first code, or ctx has ended.
func (a *Agent) boot(ctx context.Context) {
	if a.take(ctx) != nil {
		return
	}
	a.resume(ctx)
	a.release()
	said := ""
	for wait, longest := a.opts.RetryFirst, a.opts.RetryMax; ; wait = min(2*wait, longest) {
		result := a.look(ctx)
		if result == nil || ctx.Err() != nil {
			return
		}
		if a.opts.Original.Runs() {
			longest = max(longest, originalRetry)
		}
		if result.Error != said { // once for each reason, not for each try
			said = result.Error
			a.opts.Log.Info("waiting for the first code", "reason", said)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// pullAtStart pulls the tip, unless somebody has meanwhile; nil means that the
// code is here.
func (a *Agent) pullAtStart(ctx context.Context) *api.PullResult {
	a.mu.Lock()
	pulled := a.pulled
	a.mu.Unlock()
	if pulled {
		return nil
	}
	result := a.enqueue(ctx, api.PullRequest{})
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pulled {
		return nil
	}
	return &result
}

// resume starts what is here already, so that a restarted container serves
// again without the hub.
func (a *Agent) resume(ctx context.Context) {
	result, err := a.opts.Puller.Verify()
	if err != nil {
		a.opts.Original.end() // there was code, and what it was has to be found out
		err = fmt.Errorf("going on with the code that is here: %w", err)
		a.note(faultPull, err)
		a.log(err)
		return
	}
	if result.Commit == "" {
		return
	}
	a.opts.Original.end()
	if result.Changed > 0 { // what was built from it is not here either
		a.forgetBuilt()
	}
	a.opts.Log.Info("going on", "commit", result.Commit[:7], "mended", result.Changed)
	if _, _, err := a.build(ctx, result.Tree); err != nil {
		a.log(err)
		return
	}
	a.log(a.start(ctx))
}

// take waits for the turn, release gives it back.
func (a *Agent) take(ctx context.Context) error {
	select {
	case a.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for another operation: %w", context.Cause(ctx))
	}
}

func (a *Agent) release() { <-a.turn }

var errNoCode = errors.New("starting: there is no code yet")

// Reset stops the process, runs cleanup and starts it. Where the present tree
// is not built it builds first; if that fails, the process that runs goes on
// and the error has the build's last lines.
func (a *Agent) Reset(ctx context.Context) error {
	return a.do(ctx, func() error {
		if err := a.buildPresent(ctx); err != nil {
			return err
		}
		return a.restart(ctx)
	})
}

// Start starts the process if it does not run, as Reset does.
func (a *Agent) Start(ctx context.Context) error {
	return a.do(ctx, func() error {
		if a.opts.Group.Status().PID == 0 {
			if err := a.buildPresent(ctx); err != nil {
				return err
			}
		}
		a.setByHand(false)
		return a.start(ctx)
	})
}

// Stop stops the process until it is started by request.
func (a *Agent) Stop(ctx context.Context) error {
	return a.do(ctx, func() error {
		a.setByHand(true)
		err := a.stop()
		a.opts.Group.Release() // nobody is to wait for what may never come back
		return err
	})
}

func (a *Agent) do(ctx context.Context, operation func() error) error {
	if err := a.take(ctx); err != nil {
		return err
	}
	defer a.release()
	err := operation()
	a.log(err)
	return err
}

// buildPresent builds the code that is here, unless that is done.
func (a *Agent) buildPresent(ctx context.Context) error {
	if a.opts.Original.Runs() {
		return nil
	}
	applied := a.opts.Puller.Applied()
	if applied.Commit == "" {
		return errNoCode
	}
	_, output, err := a.build(ctx, applied.Tree)
	if err != nil && output != "" {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return err
}

// restart has the turn, and the tree is built.
func (a *Agent) restart(ctx context.Context) error {
	a.setByHand(false)
	if err := a.stop(); err != nil {
		return err
	}
	if err := a.cleanup(ctx); err != nil {
		// What it would have cleaned may hinder the start, or not.
		a.opts.Log.Warn("cleanup failed", "error", err)
	}
	err := a.start(ctx)
	if err == nil { // a new process has what an old one was not told
		a.due = reload.Decision{}
		a.note(faultReload, nil)
	}
	return err
}

func (a *Agent) stop() error {
	err := a.opts.Group.Stop(syscall.SIGTERM)
	a.note(faultStop, err)
	return err
}

// start starts the process, unless Stinger is about to end.
func (a *Agent) start(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("starting: %w", context.Cause(ctx))
	}
	_, err := a.opts.Group.Start()
	return err
}

func (a *Agent) cleanup(ctx context.Context) error {
	argv, err := a.opts.Scripts.Find(supervise.ScriptCleanup)
	if err != nil || argv == nil || a.opts.Original.Runs() {
		return err
	}
	_, err = a.task(argv, cleanupLimit).Run(ctx)
	return err
}

func (a *Agent) setByHand(v bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byHand = v
}

// Status says how the service is.
func (a *Agent) Status() api.StingerStatus {
	group := a.opts.Group.Status()
	applied := a.opts.Puller.Applied()
	a.mu.Lock()
	defer a.mu.Unlock()
	s := api.StingerStatus{
		Version: version.String(), Commit: applied.Commit, Tree: applied.Tree,
		State: group.State, PID: group.PID,
		Restarts: max(0, group.Starts-1), Crashes: group.Crashes,
		LastExit: group.LastExit,
	}
	for _, fault := range append(a.faults[:], group.LastError) {
		if s.LastError == "" {
			s.LastError = fault
		}
	}
	if group.PID != 0 {
		s.StartedAt = &group.StartedAt
	}
	if !a.pulledAt.IsZero() {
		at := a.pulledAt
		s.PulledAt = &at
	}
	switch {
	case a.building:
		s.State = api.StateBuilding
	case group.State == api.StateStopped && !a.byHand && group.Starts == 0:
		s.State = api.StateWaiting
	}
	return s
}

// Ready returns why the service does not serve; nil where it does.
func (a *Agent) Ready() error {
	s := a.Status()
	switch {
	case s.PID != 0 && (s.Commit != "" || a.opts.Original.Runs()):
		return nil
	case s.LastError != "":
		return fmt.Errorf("%s: %s", s.State, s.LastError)
	case s.LastExit != "":
		return fmt.Errorf("%s: the process ended with %s", s.State, s.LastExit)
	}
	return fmt.Errorf("%s", s.State)
}
