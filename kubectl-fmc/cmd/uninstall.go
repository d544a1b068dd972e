package cmd

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/spf13/cobra"
)

type uninstallOptions struct {
	*app
	all     bool
	timeout time.Duration
}

func newCmdUninstall(a *app) *cobra.Command {
	o := &uninstallOptions{app: a}
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove Formicarium from the cluster",
		Long: `Removes all that install made, and waits until it is gone. Where devspaces
exist, it asks whether to delete them too, with all that is in them.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	f := c.Flags()
	f.BoolVar(&o.all, "all", false, "Delete all devspaces too, without asking")
	f.BoolVarP(&o.all, "yes", "y", false, "The same as --all")
	timeFlag(f, &o.timeout, "timeout", 5*time.Minute, "How long to wait; 0 waits for ever")
	return c
}

func (o *uninstallOptions) run(c *cobra.Command) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	if err := o.announce("uninstalling Formicarium"); err != nil {
		return err
	}
	ctx, cancel := limited(c.Context(), o.timeout)
	defer cancel()
	err = client.Uninstall(ctx, o.all, o.ErrOut)
	var exist *devspace.ErrDevspacesExist
	if !errors.As(err, &exist) {
		return o.forget(err)
	}
	question := fmt.Sprintf("Delete devspaces %s too, with all that is in them?", strings.Join(exist.Names, ", "))
	if err := o.confirm(question, "--all"); err != nil {
		return err
	}
	return o.forget(client.Uninstall(ctx, true, o.ErrOut))
}

// forget clears the current devspace, which is gone.
func (o *uninstallOptions) forget(err error) error {
	if err != nil {
		return err
	}
	return o.setCurrent("")
}
