package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/bench/netra/bed"
	"github.com/formicarium/formicarium/bench/netra/report"
)

// runner is a run of the benchmark.
type runner struct {
	settings
	bed     bed.Settings
	peers   []peer
	results report.Results
	stderr  io.Writer
}

// bench is the program.
func bench(ctx context.Context, args []string, _ func(string) string, stdout, stderr io.Writer) error {
	s, err := readSettings(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	return s.run(ctx, "bench-netra "+strings.Join(args, " "), stdout, stderr)
}

func (s settings) run(ctx context.Context, command string, stdout, stderr io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("making network namespaces: this takes root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if machineProgram(tool) == "" {
			return fmt.Errorf("making network namespaces: the machine has no program %s; apt-get install iproute2 nftables adds it", tool)
		}
	}
	unlock, err := lock(s.prefix)
	if err != nil {
		return err
	}
	defer unlock()
	if found, err := removeLeftovers(s.prefix); err != nil {
		return err
	} else if len(found) > 0 {
		fmt.Fprintln(stderr, "removed what an earlier run had left:", strings.Join(found, ", "))
	}
	if err := raiseFiles(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", s.prefix+"-")
	if err != nil {
		return fmt.Errorf("making a directory for the run: %w", err)
	}
	defer os.RemoveAll(dir)
	r := &runner{settings: s, stderr: stderr}
	if err := r.prepare(ctx, dir, command); err != nil {
		return err
	}
	if err := r.rounds(ctx); err != nil {
		return err
	}
	if s.Rounds > 0 {
		if err := report.Print(stdout, &r.results); err != nil {
			return err
		}
		fmt.Fprintln(stderr, "every sample:", s.json)
	}
	if s.profile != "" {
		if err := r.profiles(ctx); err != nil {
			return err
		}
	}
	if n := len(r.results.Failures); n > 0 {
		return fmt.Errorf("measuring: %d stages failed", n)
	}
	return nil
}

// prepare builds what is run, and notes what there is.
func (r *runner) prepare(ctx context.Context, dir, command string) error {
	// Sidecars read and write here, as a user of their own.
	if err := os.Chmod(dir, 0o777); err != nil {
		return fmt.Errorf("opening the run's directory: %w", err)
	}
	tree, err := tree(ctx)
	if err != nil {
		return err
	}
	var missing []string
	r.peers, missing = available(r.Peers)
	r.results = report.Results{
		Began: time.Now(), Command: command, Settings: r.settings, Machine: machine(), Redirect: bed.Ruleset,
		Versions: versions(ctx, r.peers, tree), Commands: map[string][]string{}, Files: map[string]string{}, LeftOut: missing,
	}
	for _, p := range r.peers {
		r.results.Peers = append(r.results.Peers, p.name)
	}
	for _, line := range missing {
		fmt.Fprintln(r.stderr, line)
	}
	r.bed = bed.Settings{Prefix: r.prefix, Dir: dir, App: filepath.Join(dir, "app"), Client: filepath.Join(dir, "client")}
	return build(ctx, tree, r.results.Versions["netra"], dir)
}

// rounds measures all peers, round by round, and writes what there is after
// each: an interrupted run has its whole rounds.
func (r *runner) rounds(ctx context.Context) error {
	for round := range r.Rounds {
		for _, p := range r.peers {
			for _, stage := range r.stages(round, p) {
				began := time.Now()
				err := r.stage(ctx, round, p, stage)
				if ctx.Err() != nil {
					return fmt.Errorf("measuring: %w", context.Cause(ctx))
				}
				if err != nil {
					r.fail("round %d: %s, %s: %v", round, p.name, stage.name, err)
				}
				fmt.Fprintf(r.stderr, "round %d of %d: %s, %s: %.0f s\n", round+1, r.Rounds, p.name, stage.name, time.Since(began).Seconds())
			}
		}
		r.results.Complete = round == r.Rounds-1
		if err := r.write(); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) fail(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Fprintln(r.stderr, line)
	r.results.Failures = append(r.results.Failures, line)
}

func (r *runner) write() error {
	r.results.Ended = time.Now()
	r.results.Rows = report.Judge(r.results.Samples)
	r.results.Figures = report.Further(r.results.Samples, r.Rates)
	text, err := json.MarshalIndent(&r.results, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(r.json), 0o755)
	}
	if err == nil {
		err = os.WriteFile(r.json, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}

// lock makes this the only run with these names. The lock is a socket, which
// the kernel takes back from a process that is killed.
func lock(prefix string) (unlock func(), err error) {
	l, err := net.Listen("unix", "@"+prefix)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errors.New("starting: another run is going on, and two would measure each other; wait for it, or end it")
	}
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	return func() { l.Close() }, nil
}

// removeLeftovers removes what a run that was killed has left.
func removeLeftovers(prefix string) ([]string, error) {
	found, err := bed.RemoveLeftovers(prefix)
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"-*"))
	if err != nil {
		return nil, fmt.Errorf("looking for leftovers: %w", err)
	}
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("removing leftovers: %w", err)
		}
	}
	return append(found, dirs...), nil
}

// raiseFiles lets this process and all that it starts open as many files as
// this machine allows: two for each of 2,000 connections.
func raiseFiles() error {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	if err == nil {
		limit.Cur = limit.Max
		// Having been set, it is passed on; Go raises it for itself alone.
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	if err != nil {
		return fmt.Errorf("raising the number of open files: %w", err)
	}
	return nil
}
