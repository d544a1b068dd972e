// Bench-netra measures netra against other proxies on one Linux machine.
//
//	bench-netra                                      # everything, root
//	bench-netra -quick                               # does it work? a minute, no figures to quote
//	bench-netra -rounds 3 -peers direct,netra,splice -rates 3000
//	bench-netra -rounds 0 -profile DIR               # CPU profiles of netra, nothing else
//
// It prints the figures with their verdicts (package report) and writes every
// sample as JSON.
//
// The flow: settings (settings.go) → programs built from the tree, peers that
// the machine has (programs.go, peer.go), what the machine is (machine.go) →
// rounds (rounds.go). In a round each peer has its turn, so that what the
// machine does meanwhile comes over all of them; in its turn it goes through
// stages (stage.go), each in a test bed of its own (package bed):
//
//	memory   starts; 2 s later its RSS; then idle keep-alive connections
//	abort    warmed up; then clients that reset a download
//	load     warmed up; then each rate (package load), then a closed loop
//	churn    in the first round: a connection for each request
//
// Loads wait until the rest of the machine is quiet, for up to -patience, and
// are repeated up to -attempts times if it was not to the end; the quietest is
// kept, and how quiet it was. A stage that fails is reported, and the others go
// on.
//
// Whatever happens, the namespaces and processes of a bed go with it. What is
// left by a run that was killed is removed by the next, which a lock tells from
// one that is still going on.
package main

import (
	"os"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("bench-netra", bench)) }
