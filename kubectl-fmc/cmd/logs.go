package cmd

import (
	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/spf13/cobra"
)

func newCmdLogs(a *app) *cobra.Command {
	var config devspace.LogsConfig
	c := &cobra.Command{
		Use:               "logs NAME",
		Short:             "Print the logs of all pods of a service",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(c *cobra.Command, args []string) error {
			client, space, err := a.open(c.Context())
			if err != nil {
				return err
			}
			config.Devspace, config.Service, config.Problems = space, args[0], a.ErrOut
			return client.Logs(c.Context(), config, a.Out)
		},
	}
	f := c.Flags()
	f.BoolVarP(&config.Follow, "follow", "f", false, "Go on as lines come, also with pods that come")
	f.Int64Var(&config.Tail, "tail", 100, "Lines of each container to begin with; -1 for all")
	f.StringVarP(&config.Container, "container", "c", "", "Container, such as netra (default: the service's own)")
	return c
}
