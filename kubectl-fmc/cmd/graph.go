package cmd

import (
	"github.com/spf13/cobra"
)

func newCmdGraph(a *app) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "graph",
		Short: "Show which services call which, as counted in their pods",
		Long: `Reads the counters of every netra in the devspace: requests and the share of
errors (5xx, or no answer) for each pair of services, since the pods started.`,
		Example: `  kubectl fmc graph
  kubectl fmc graph -o dot | dot -Tsvg > graph.svg`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(output, "text", "dot", "json"); err != nil {
				return err
			}
			client, space, err := a.open(c.Context())
			if err != nil {
				return err
			}
			graph, err := client.Graph(c.Context(), space)
			if err != nil {
				return err
			}
			switch output {
			case "json":
				return writeJSON(a.Out, graph)
			case "dot":
				graph.WriteDot(a.Out)
			default:
				graph.WriteText(a.Out)
			}
			return nil
		},
	}
	addOutput(c, &output, "text", "dot", "json")
	return c
}
