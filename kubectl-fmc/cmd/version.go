package cmd

import (
	"errors"
	"fmt"
	"time"

	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/spf13/cobra"
)

func newCmdVersion(a *app) *cobra.Command {
	var output string
	var client bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the plugin and of what is installed",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(output, "text", "json", "yaml"); err != nil {
				return err
			}
			versions := devspace.Versions{Client: version.Long()}
			var fault error
			if !client {
				versions, fault = a.versions(c)
			}
			switch output {
			case "json":
				return errors.Join(writeJSON(a.Out, versions), fault)
			case "yaml":
				return errors.Join(writeYAML(a.Out, versions), fault)
			}
			fmt.Fprintln(a.Out, "client:    "+versions.Client)
			if versions.Cluster != "" {
				fmt.Fprintln(a.Out, "cluster:   "+versions.Cluster)
				fmt.Fprintln(a.Out, "installed: "+installedText(versions))
			}
			return fault
		},
	}
	c.Flags().BoolVar(&client, "client", false, "Do not ask the cluster")
	addOutput(c, &output, "text", "json", "yaml")
	return c
}

func installedText(v devspace.Versions) string {
	if v.Installed == "" {
		return "not installed (kubectl fmc install --registry REGISTRY)"
	}
	return v.Installed + " (" + v.Image + ")"
}

func (a *app) versions(c *cobra.Command) (devspace.Versions, error) {
	none := devspace.Versions{Client: version.Long()}
	client, err := a.client()
	if err != nil {
		return none, err
	}
	ctx, cancel := limited(c.Context(), 10*time.Second)
	defer cancel()
	return client.Versions(ctx, version.Long())
}
