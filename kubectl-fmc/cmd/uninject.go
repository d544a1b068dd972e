package cmd

import (
	"github.com/formicarium/formicarium/kubectl-fmc/workload"
	"github.com/spf13/cobra"
)

func newCmdUninject(a *app) *cobra.Command {
	m := &manifestFiles{app: a}
	c := &cobra.Command{
		Use:   "uninject -f FILE|DIR|-",
		Short: "Take out of manifests what inject put in",
		Long: `Prints the manifests without what inject, with or without --manual, or the
webhook put into them: the annotation formicarium.io/inject goes, unless it says
disabled, and all that the annotation formicarium.io/status says was added or
changed. Does not ask the cluster.`,
		Example: `  kubectl fmc uninject -f injected.yaml | kubectl apply -f -
  kubectl get pod orders-0 -o yaml | kubectl fmc uninject -f -`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := m.validate(); err != nil {
				return err
			}
			files, err := workload.Read(m.names, m.recursive, m.In)
			if err != nil {
				return err
			}
			out, changes, err := workload.Uninject(files)
			if err != nil {
				return err
			}
			return m.write(out, changes)
		},
	}
	m.addFlags(c)
	return c
}
