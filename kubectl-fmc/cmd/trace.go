package cmd

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/spf13/cobra"
)

type traceOptions struct {
	*app
	config devspace.TraceConfig
	output string
}

func newCmdTrace(a *app) *cobra.Command {
	o := &traceOptions{app: a}
	c := &cobra.Command{
		Use:   "trace [TRACE_ID]",
		Short: "Show the last requests with their way through the services",
		Example: `  kubectl fmc trace
  kubectl fmc trace --service orders --limit 5
  kubectl fmc trace 3f2a9c0d51e7b846 -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.config.ID = args[0]
			}
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(c)
		},
	}
	c.Flags().StringVar(&o.config.Service, "service", "", "Only traces that this service takes part in")
	c.Flags().IntVar(&o.config.Limit, "limit", 1, "How many traces")
	addOutput(c, &o.output, "text", "json")
	return c
}

// traceID is Jaeger's: up to 128 bits in hex.
var traceID = regexp.MustCompile(`^[0-9A-Fa-f]{1,32}$`)

func (o *traceOptions) validate() error {
	faults := []error{checkOutput(o.output, "text", "json")}
	if o.config.ID != "" && !traceID.MatchString(o.config.ID) {
		faults = append(faults, fmt.Errorf("trace id %q: want 1 to 32 hexadecimal digits", o.config.ID))
	}
	if o.config.Limit < 1 || o.config.Limit > 1000 {
		faults = append(faults, fmt.Errorf("--limit=%d: want a number from 1 to 1000", o.config.Limit))
	}
	return errors.Join(faults...)
}

func (o *traceOptions) run(c *cobra.Command) error {
	client, space, err := o.open(c.Context())
	if err != nil {
		return err
	}
	o.config.Devspace, o.config.ID = space, strings.ToLower(o.config.ID)
	traces, err := client.Traces(c.Context(), o.config)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return writeJSON(o.Out, traces)
	}
	if len(traces) == 0 {
		fmt.Fprintln(o.ErrOut, "no traces yet: send a request to a service; spans take about a second to arrive")
	}
	for _, t := range traces {
		t.WriteText(o.Out)
	}
	return nil
}
