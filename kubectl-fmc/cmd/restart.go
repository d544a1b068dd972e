package cmd

import (
	"time"

	"github.com/spf13/cobra"
)

func newCmdRestart(a *app) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "restart NAME",
		Short: "Stop and start a service's processes",
		Long: `Asks the Stinger in each pod to stop the process, clean up and start it again;
the pods stay. A service that runs its image as it is gets new pods.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := limited(c.Context(), timeout)
			defer cancel()
			client, space, err := a.open(ctx)
			if err != nil {
				return err
			}
			return client.Restart(ctx, space, args[0], a.Out)
		},
	}
	timeFlag(c.Flags(), &timeout, "timeout", 2*time.Minute, "How long to wait; 0 waits for ever")
	return c
}
