// Command tanajura is the git hub of a devspace: one repository per service,
// which the developer's plugin pushes each save to, and which the service's
// pods pull from.
//
//	TANAJURA_DIR=/tmp/hub tanajura
//	curl -H 'Content-Type: application/json' -d '{"name":"orders"}' http://127.0.0.1:3002/api/repositories
//	git push http://127.0.0.1:3002/orders.git main
//
// In a devspace it watches the namespace's pods and tells those of the service
// of each push; what became of it there is part of the answer to the push.
// Outside Kubernetes it is a git hub for one machine, and tells the Stingers
// that TANAJURA_STINGERS lists. It needs git 2.38 or newer in PATH.
//
// It takes no arguments but "version". Its settings are environment variables:
//
//	TANAJURA_DIR               where the repositories are (/var/lib/tanajura)
//	TANAJURA_PORT              port to listen on, 0 for any free one (3002)
//	TANAJURA_BIND              address to listen on (127.0.0.1; in a pod all)
//	TANAJURA_AUTH              who may use it: "kubernetes" has the API server say
//	                           who brings a token and what he may do, and serves TLS
//	                           (package guard; in a pod); "none" asks nobody, serves
//	                           plain HTTP, and is for a loopback address only (elsewhere)
//	TANAJURA_AUTHORITY         directory with the devspace's authority, tls.crt and
//	                           tls.key (/var/run/formicarium/authority)
//	TANAJURA_STINGERS          SERVICE=URL[,…]: Stingers to tell in place of those
//	                           found in the cluster
//	TANAJURA_MAX_PUSH          most bytes of one push, packed (1 GiB)
//	TANAJURA_MAX_REPOSITORY    most bytes of one repository on disk (4 GiB)
//	TANAJURA_MAX_REPOSITORIES  most repositories (200)
//	TANAJURA_COLLECT_EVERY     pushes to a repository between two collections (100)
//	TANAJURA_GRACE             time for requests in flight at the end (25s, below
//	                           the 30s that a pod has)
//	TANAJURA_LOG_LEVEL         debug, info, warn or error (info)
//	POD_NAMESPACE              the pod's namespace; in a pod it must be set
//
// It ends on SIGTERM or SIGINT, after the requests in flight; a second signal
// ends it at once.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/internal/version"
)

func main() { os.Exit(run.Main("tanajura", tanajura)) }

func tanajura(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	switch {
	case len(args) == 1 && (args[0] == "version" || args[0] == "--version"):
		_, err := fmt.Fprintln(stdout, "tanajura", version.Long())
		return err
	case len(args) > 0:
		return fmt.Errorf("unknown argument %q: tanajura takes its settings from the environment, see go doc", args[0])
	}
	cfg, err := readConfig(getenv)
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	log, err := run.Logger(stderr, cfg.logLevel)
	if err != nil {
		return err
	}
	return serve(ctx, cfg, log)
}
