package cmd

import (
	"fmt"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/spf13/cobra"
)

func newCmdExplain(a *app) *cobra.Command {
	var output string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "explain POD|KIND/NAME",
		Short: "Say whether a pod or workload is injected, by what rule, and why not",
		Long: `Says by what rule a pod, or the pods of a workload, are injected or not, what a
pod made now would get, what the pods that are there have, and whether the
webhook works. The answer comes from the library that the webhook uses; what
your rights do not let you read is said. KIND may be pod, deployment, statefulset,
daemonset, replicaset, job or cronjob, or one of kubectl's short names.`,
		Example: `  kubectl fmc explain deploy/orders -n shop
  kubectl fmc explain orders-6d4cf56db6-x8k2p -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkOutput(output, "text", "json"); err != nil {
				return err
			}
			if _, _, err := devspace.ParseReference(args[0]); err != nil {
				return err
			}
			ctx, cancel := limited(c.Context(), timeout)
			defer cancel()
			client, err := a.client()
			if err != nil {
				return err
			}
			namespace, err := a.namespace()
			if err != nil {
				return err
			}
			explanation, err := client.Explain(ctx, namespace, args[0])
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(a.Out, explanation)
			}
			for _, sentence := range explanation.Sentences {
				fmt.Fprintln(a.Out, sentence)
			}
			return nil
		},
	}
	addOutput(c, &output, "text", "json")
	timeFlag(c.Flags(), &timeout, "timeout", time.Minute, "How long to wait; 0 waits for ever")
	return c
}

// namespace returns the one that is asked for, else the current devspace, else
// the kubeconfig's.
func (a *app) namespace() (string, error) {
	if *a.kube.Namespace != "" {
		return *a.kube.Namespace, nil
	}
	current, err := a.current()
	if err != nil || current != "" {
		return current, err
	}
	name, _, err := a.kube.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return name, nil
}
