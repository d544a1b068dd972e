// Command demo goes the whole way as a user would, through kubectl and the
// plugin, on the cluster that `make cluster` brought up: install, a devspace,
// the three services of examples/shop, an edit, the trace, the graph. Each
// step is checked; the exit code is 0 only if all were right.
//
//	make demo
package main

import (
	"os"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("demo", demo)) }
