package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/internal/sidecar"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/netra/redirect"
)

// The exit codes beside 0 and run.Main's 1.
const (
	exitUsage     = 2
	exitUncertain = 3
)

// options are the flags: at most one may be set.
type options struct {
	dryRun, check, cleanup, version bool
}

// initialise is the program: it applies the redirection, or does what a flag
// says.
func initialise(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return &run.ExitError{Code: exitUsage, Err: err}
	}
	switch {
	case o.version:
		fmt.Fprintln(stdout, version.Long())
		return nil
	case o.cleanup:
		// Wrong settings must not stand in the way of taking rules out.
		if err := redirect.Cleanup(ctx); err != nil {
			return err
		}
		fmt.Fprintln(stdout, "the redirection is removed")
		return nil
	}
	plan, backend, err := planFrom(getenv)
	if err != nil {
		return &run.ExitError{Code: exitUsage, Err: fmt.Errorf("reading the settings:\n%w", err)}
	}
	switch {
	case o.dryRun:
		fmt.Fprint(stdout, plan, backend.Ruleset(plan))
		return nil
	case o.check:
		report, err := redirect.Check(ctx, plan, backend)
		fmt.Fprint(stdout, report)
		if err != nil {
			return &run.ExitError{Code: exitUncertain, Err: err}
		}
		return nil
	}
	applied, err := redirect.Apply(ctx, plan, backend)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "applied by %s: %s", applied.By, plan)
	for _, note := range applied.Notes {
		fmt.Fprintf(stdout, "note: %s\n", note)
	}
	return nil
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("netra-init", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the rules and change nothing")
	flags.BoolVar(&o.check, "check", false, "prove with a real connection that the redirection is applied and works")
	flags.BoolVar(&o.cleanup, "cleanup", false, "remove the redirection")
	flags.BoolVar(&o.version, "version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: netra-init takes flags only", flags.Arg(0))
	}
	if flags.NFlag() > 1 {
		return o, errors.New("--dry-run, --check, --cleanup and --version exclude each other: give one")
	}
	return o, nil
}

// planFrom reads the environment.
func planFrom(getenv func(string) string) (redirect.Plan, redirect.Backend, error) {
	r := env.NewReader(getenv)
	s := sidecar.ReadRedirect(r)
	plan, err := redirect.NewPlan(redirect.Settings{
		InboundPort: s.InboundPort, OutboundPort: s.OutboundPort, AdminPort: s.AdminPort, UID: s.UID,
		Inbound: redirect.Direction(s.Inbound), Outbound: redirect.Direction(s.Outbound), ExcludeCIDRs: s.ExcludeCIDRs,
	})
	if r.Err() != nil {
		return redirect.Plan{}, "", r.Err() // it names the variables
	}
	return plan, redirect.Backend(s.Backend), err
}
