package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace/definition"
	"github.com/spf13/cobra"
)

type undeployOptions struct {
	*app
	names          []string
	file, output   string
	yes, keepCache bool
	timeout        time.Duration
}

func newCmdUndeploy(a *app) *cobra.Command {
	o := &undeployOptions{app: a}
	c := &cobra.Command{
		Use:   "undeploy NAME...|-f FILE",
		Short: "Take services back out of the devspace",
		Long: `Deletes what deploy made for each service: its objects, its repository on the
hub and its sync's lease, and waits until they and its pods are gone. A sync of it
that runs ends, and says why. Needs no definition; with -f, and without NAME, all
services of that file are undeployed, those that are not deployed being left out.

The volume of a service's own cache goes with it, as with devspace delete;
--keep-cache keeps it for the next deploy of that name. A cache that the devspace
shares stays, and so does all that others made: pods that are only injected keep
what they have, see uninject.

All services are looked for before anything is deleted. What was not ended, the
same command again goes on with.`,
		Example: `  kubectl fmc undeploy orders
  kubectl fmc undeploy orders stock --yes
  kubectl fmc undeploy -f fmc.yaml`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeMoreServices,
		RunE: func(c *cobra.Command, args []string) error {
			o.names = args
			if err := o.complete(); err != nil {
				return err
			}
			return o.run(c.Context(), len(args) == 0)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.file, "filename", "f", "", "Definition file that names the services")
	f.BoolVar(&o.keepCache, "keep-cache", false, "Keep the volume of the service's own cache")
	f.BoolVarP(&o.yes, "yes", "y", false, "Do not ask")
	timeFlag(f, &o.timeout, "timeout", 2*time.Minute, "How long to wait until all is gone; 0 waits for ever")
	addOutput(c, &o.output, "text", "json")
	return c
}

// complete finds the names, and reports what is wrong with the command line. No
// file is looked for: one that merely lies there must not name what is deleted.
func (o *undeployOptions) complete() error {
	if err := checkOutput(o.output, "text", "json"); err != nil {
		return err
	}
	if o.file == "" {
		if len(o.names) == 0 {
			return errors.New("no service: give NAME, or a definition file with -f; see kubectl fmc status for what there is")
		}
		o.names = distinct(o.names)
		return nil
	}
	// A file of one service without a name has it from the command line.
	name := ""
	if len(o.names) == 1 {
		name = o.names[0]
	}
	d, err := definition.Read(o.file, definition.Options{Name: name})
	if err != nil {
		return err
	}
	var faults []error
	for _, name := range o.names {
		if _, err := d.Find(name); err != nil {
			faults = append(faults, err)
		}
	}
	if len(o.names) == 0 {
		for _, s := range d.Services {
			o.names = append(o.names, s.Name)
		}
	}
	o.names = distinct(o.names)
	return errors.Join(faults...)
}

// distinct leaves out what was named before.
func distinct(names []string) []string {
	var kept []string
	for _, name := range names {
		if !slices.Contains(kept, name) {
			kept = append(kept, name)
		}
	}
	return kept
}

func (o *undeployOptions) run(ctx context.Context, some bool) error {
	client, space, err := o.open(ctx)
	if err != nil {
		return err
	}
	plan, err := client.PlanUndeploy(ctx, space, o.names, o.keepCache)
	if some && len(plan) > 0 {
		err = notDeployedApart(err, o.ErrOut)
	}
	if err != nil {
		return err
	}
	if !o.yes {
		if err := o.confirm(undeployQuestion(space, plan), "--yes"); err != nil {
			return err
		}
	}
	ctx, cancel := limited(ctx, o.timeout) // the time to think does not count
	defer cancel()
	undeployed, err := client.Undeploy(ctx, space, plan, o.ErrOut)
	if o.output == "json" {
		err = errors.Join(err, writeJSON(o.Out, struct {
			Devspace string                `json:"devspace"`
			Services []devspace.Undeployed `json:"services"`
		}{space, undeployed}))
	}
	return err
}

// notDeployedApart takes services that are not deployed out of the error, and
// tells of them.
func notDeployedApart(err error, out io.Writer) error {
	var rest []error
	for _, fault := range unjoin(err) {
		if none := new(devspace.NotDeployedError); errors.As(fault, &none) {
			fmt.Fprintf(out, "%s is not deployed\n", none.Service)
			continue
		}
		rest = append(rest, fault)
	}
	return errors.Join(rest...)
}

// unjoin returns what an error joins.
func unjoin(err error) []error {
	if joined, is := err.(interface{ Unwrap() []error }); is {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func undeployQuestion(space string, plan []*devspace.Undeployment) string {
	var names, notes []string
	for _, u := range plan {
		names = append(names, u.Service)
		if u.SyncedBy != nil {
			notes = append(notes, fmt.Sprintf("%s syncs %s, which ends.", u.SyncedBy.Holder, u.Service))
		}
		if len(u.Caches) > 0 {
			notes = append(notes, fmt.Sprintf("The cache of %s goes too (--keep-cache keeps it).", u.Service))
		}
	}
	return strings.Join(append(notes, fmt.Sprintf("Remove %s from devspace %s?", strings.Join(names, ", "), space)), " ")
}

// completeMoreServices completes the names of services that are not named yet.
func (a *app) completeMoreServices(c *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, directive := a.completeServices(c, nil, prefix)
	return slices.DeleteFunc(names, func(name cobra.Completion) bool { return slices.Contains(args, name) }), directive
}
