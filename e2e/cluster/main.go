// Program cluster brings up a real single-node Kubernetes on this machine,
// from Go modules and Debian packages, and takes it down again without a
// trace.
//
//	go run . deps && go run . up
//	eval "$(go run . env)"
//	go run . down
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/formicarium/formicarium/e2e/cluster/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	if err := command.Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}
