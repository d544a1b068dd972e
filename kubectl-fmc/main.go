// Command kubectl-fmc is the plugin `kubectl fmc`: it installs Formicarium in a
// cluster, makes devspaces, and runs services in them straight from local
// directories.
//
//	kubectl fmc install --registry REGISTRY
//	kubectl fmc devspace create mine
//	kubectl fmc deploy orders ./orders -w
//
// It reaches the cluster through the API server only, with the rights of the
// kubeconfig's user. Beside kubectl's own variables it reads
//
//	FMC_CONFIG   file that keeps the current devspace of each cluster
//	             (fmc/config.json in the user's configuration directory)
package main

import (
	"os"

	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/kubectl-fmc/cmd"
)

func main() { os.Exit(run.Main("kubectl fmc", cmd.Run)) }
