package cmd

import (
	"errors"
	"fmt"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"
)

func newCmdDevspace(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "devspace",
		Aliases: []string{"devspaces", "ds"},
		Short:   "Create, list, select and delete devspaces",
		Long: `A devspace is a namespace with a hub that takes the code of its services, a
quota, and network policies. One of them is the current one of a cluster:
all verbs work in it unless -n names another.`,
		Args: knownVerb,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCmdDevspaceCreate(a), newCmdDevspaceList(a), newCmdDevspaceUse(a), newCmdDevspaceDelete(a))
	return c
}

type createOptions struct {
	*app
	config  devspace.CreateConfig
	timeout time.Duration
}

func newCmdDevspaceCreate(a *app) *cobra.Command {
	o := &createOptions{app: a}
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a devspace and make it the current one",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.config.Name = args[0]
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(c)
		},
	}
	f := c.Flags()
	f.StringVar(&o.config.CPU, "cpu", "8", "CPU that all its pods together may request")
	f.StringVar(&o.config.Memory, "memory", "16Gi", "Memory that all its pods together may request")
	f.IntVar(&o.config.Pods, "pods", 100, "How many pods it may have")
	f.StringVar(&o.config.HubStorage, "hub-storage", "4Gi", "Size limit of the hub's repositories")
	f.StringVar(&o.config.HubMemory, "hub-memory", "512Mi", "Memory limit of the hub")
	f.StringVar(&o.config.Image, "hub-image", "", "Image of the hub (default: the installation's)")
	f.StringVar(&o.config.PullPolicy, "image-pull-policy", "", "Always, IfNotPresent or Never (default: the installation's)")
	timeFlag(f, &o.timeout, "timeout", 2*time.Minute, "How long to wait; 0 waits for ever")
	return c
}

func (o *createOptions) validate() error {
	faults := []error{api.CheckName("devspace", o.config.Name)}
	for flag, value := range map[string]string{
		"--cpu": o.config.CPU, "--memory": o.config.Memory, "--hub-storage": o.config.HubStorage, "--hub-memory": o.config.HubMemory,
	} {
		if _, err := resource.ParseQuantity(value); err != nil {
			faults = append(faults, fmt.Errorf("%s=%q: want a quantity such as 500m, 8 or 16Gi", flag, value))
		}
	}
	if o.config.Pods < 2 {
		faults = append(faults, fmt.Errorf("--pods=%d: want at least 2, one of which is the hub", o.config.Pods))
	}
	return errors.Join(faults...)
}

func (o *createOptions) run(c *cobra.Command) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	if err := o.announce("devspace " + o.config.Name); err != nil {
		return err
	}
	ctx, cancel := limited(c.Context(), o.timeout)
	defer cancel()
	if err := client.CreateDevspace(ctx, o.config, o.ErrOut); err != nil {
		return err
	}
	if err := o.setCurrent(o.config.Name); err != nil {
		return err
	}
	fmt.Fprintln(o.ErrOut, "next: kubectl fmc deploy NAME PATH -w")
	return nil
}

type listOptions struct {
	*app
	output string
}

func newCmdDevspaceList(a *app) *cobra.Command {
	o := &listOptions{app: a}
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the cluster's devspaces; the current one is marked *",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(o.output, "table", "json", "yaml", "name"); err != nil {
				return err
			}
			return o.run(c)
		},
	}
	addOutput(c, &o.output, "table", "json", "yaml", "name")
	return c
}

func (o *listOptions) run(c *cobra.Command) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	devspaces, err := client.ListDevspaces(c.Context())
	if err != nil {
		return err
	}
	current, err := o.current()
	if err != nil {
		return err
	}
	var rows [][]string
	for i := range devspaces {
		d := &devspaces[i]
		mark := ""
		if d.Current = d.Name == current; d.Current {
			mark = "*"
		}
		rows = append(rows, []string{mark, d.Name, d.Phase, d.Owner, age(d.Created, time.Now())})
	}
	switch o.output {
	case "json":
		return writeJSON(o.Out, devspaces)
	case "yaml":
		return writeYAML(o.Out, devspaces)
	case "name":
		for _, d := range devspaces {
			fmt.Fprintln(o.Out, d.Name)
		}
		return nil
	}
	if len(rows) == 0 {
		fmt.Fprintln(o.ErrOut, "no devspaces: create one with kubectl fmc devspace create NAME")
		return nil
	}
	return writeTable(o.Out, []string{"", "NAME", "STATUS", "OWNER", "AGE"}, rows)
}

func newCmdDevspaceUse(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a devspace the current one",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeDevspaces,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if _, err := client.GetDevspace(c.Context(), args[0]); err != nil {
				return err
			}
			if err := a.setCurrent(args[0]); err != nil {
				return err
			}
			fmt.Fprintf(a.ErrOut, "the current devspace is %s\n", args[0])
			return nil
		},
	}
}

type deleteOptions struct {
	*app
	name    string
	yes     bool
	timeout time.Duration
}

func newCmdDevspaceDelete(a *app) *cobra.Command {
	o := &deleteOptions{app: a}
	c := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Delete a devspace with all that is in it",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeDevspaces,
		RunE: func(c *cobra.Command, args []string) error {
			o.name = args[0]
			return o.run(c)
		},
	}
	f := c.Flags()
	f.BoolVarP(&o.yes, "yes", "y", false, "Do not ask")
	timeFlag(f, &o.timeout, "timeout", 5*time.Minute, "How long to wait; 0 waits for ever")
	return c
}

func (o *deleteOptions) run(c *cobra.Command) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	ctx, cancel := limited(c.Context(), o.timeout)
	defer cancel()
	if _, err := client.GetDevspace(ctx, o.name); err != nil {
		return o.gone(err)
	}
	if err := o.announce("deleting devspace " + o.name); err != nil {
		return err
	}
	if !o.yes {
		if err := o.confirm(fmt.Sprintf("Delete devspace %s with all that is in it?", o.name), "--yes"); err != nil {
			return err
		}
	}
	return o.gone(client.DeleteDevspace(ctx, o.name, o.ErrOut))
}

// gone forgets a devspace that is no more, and keeps any other error.
func (o *deleteOptions) gone(err error) error {
	var none *devspace.NoDevspaceError
	if err != nil && (!errors.As(err, &none) || none.Foreign) {
		return err
	}
	current, currentErr := o.current()
	if currentErr != nil || current != o.name {
		return errors.Join(err, currentErr)
	}
	return errors.Join(err, o.setCurrent(""))
}

// completeDevspaces completes the names of devspaces.
func (a *app) completeDevspaces(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	client, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	// Nobody waits longer for a completion.
	ctx, cancel := limited(c.Context(), time.Second)
	defer cancel()
	devspaces, _ := client.ListDevspaces(ctx)
	var names []cobra.Completion
	for _, d := range devspaces {
		names = append(names, d.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
