package cmd

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/spf13/cobra"
)

type checkOptions struct {
	*app
	output   string
	timeout  time.Duration
	repair   bool
	rate     float64
	patience time.Duration
	dryRun   bool
}

func newCmdCheck(a *app) *cobra.Command {
	o := &checkOptions{app: a}
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the installation and the pods that asked for injection",
		Long: `Looks at the webhook's configuration, certificates and pods, has it inject into
a pod for show, looks at Jaeger, at the hubs and their certificates, and at all
pods (or those of the namespace that -n names): those that asked for injection and
have none, and those that do not run because of it. Each line is ok, warn or fail, with the way out;
one fail makes the exit code 1. What your rights do not let you read is said.

A pod that asked has none where it was created while the API server knew of no
webhook. --repair has such pods created anew: it evicts those that a controller
made, one at a time, honouring PodDisruptionBudgets, and waits until a pod's
place is taken before the next of the same owner. It asks nothing; --dry-run
shows what it would do.`,
		Example: `  kubectl fmc check
  kubectl fmc check -n shop -o json
  kubectl fmc check --repair --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.validate(c); err != nil {
				return err
			}
			return o.run(c)
		},
	}
	addOutput(c, &o.output, "text", "json")
	f := c.Flags()
	f.BoolVar(&o.repair, "repair", false, "Evict pods that asked and have nothing, so that they are created anew")
	f.Float64Var(&o.rate, "rate", 1, "With --repair: evictions per second at most")
	timeFlag(f, &o.patience, "patience", 2*time.Minute, "With --repair: how long an evicted pod's place may stay empty before its owner's other pods are left")
	f.BoolVar(&o.dryRun, "dry-run", false, "With --repair: only say what would be done")
	timeFlag(f, &o.timeout, "timeout", 10*time.Minute, "How long all may take; 0 is for ever")
	return c
}

func (o *checkOptions) validate(c *cobra.Command) error {
	faults := []error{checkOutput(o.output, "text", "json")}
	if o.rate <= 0 || o.rate > 100 {
		faults = append(faults, fmt.Errorf("--rate=%g: want more than 0 and at most 100 evictions per second", o.rate))
	}
	for _, name := range []string{"rate", "patience", "dry-run"} {
		if !o.repair && c.Flags().Changed(name) {
			faults = append(faults, fmt.Errorf("--%s goes with --repair only", name))
		}
	}
	return errors.Join(faults...)
}

// checkOutcome is what -o json prints.
type checkOutcome struct {
	devspace.CheckReport
	Repair []devspace.Finding `json:"repair,omitempty"`
	Failed bool               `json:"failed"`
}

func (o *checkOptions) run(c *cobra.Command) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	fallback, err := o.namespace()
	if err != nil {
		return err
	}
	ctx, cancel := limited(c.Context(), o.timeout)
	defer cancel()
	report, err := client.Check(ctx, devspace.CheckConfig{Version: version.String(), Namespace: *o.kube.Namespace, Fallback: fallback})
	if err != nil {
		return err
	}
	outcome := checkOutcome{CheckReport: report, Failed: devspace.Failed(report.Findings)}
	if o.output == "text" {
		writeFindings(o.Out, report.Findings)
	}
	if o.repair && len(report.Missing) > 0 {
		if !report.WebhookWorks {
			err := errors.New("nothing was repaired: the webhook was not seen to work, so what is evicted might come back without injection, or not at all")
			if o.output == "json" {
				return errors.Join(writeJSON(o.Out, outcome), err)
			}
			return err
		}
		outcome.Repair = client.Repair(ctx, report.Missing, devspace.RepairConfig{
			Every: time.Duration(float64(time.Second) / o.rate), Patience: o.patience, DryRun: o.dryRun,
		}, o.ErrOut)
		outcome.Failed = o.failedStill(outcome)
	}
	if o.output == "json" {
		if err := writeJSON(o.Out, outcome); err != nil {
			return err
		}
	}
	if outcome.Failed {
		return &run.ExitError{Code: 1}
	}
	return nil
}

// failedStill leaves out what was repaired.
func (o *checkOptions) failedStill(outcome checkOutcome) bool {
	if o.dryRun || devspace.Failed(outcome.Repair) {
		return true
	}
	var rest []devspace.Finding
	for _, f := range outcome.Findings {
		if f.Check != devspace.CheckMissing {
			rest = append(rest, f)
		}
	}
	return devspace.Failed(rest)
}

func writeFindings(out io.Writer, findings []devspace.Finding) {
	for _, f := range findings {
		fmt.Fprintf(out, "%-5s %s: %s\n", f.Level, f.Check, f.Text)
		if f.Detail != "" {
			fmt.Fprintf(out, "      %s\n", strings.ReplaceAll(f.Detail, "\n", "\n      "))
		}
		if f.WayOut != "" && f.Level != devspace.LevelOK {
			fmt.Fprintf(out, "      → %s\n", f.WayOut)
		}
	}
}
