// Client is the benchmark's load generator: package load as a process of its
// own, so that its garbage collector, its descriptors and its processor time are
// its own, too.
//
//	client -target 10.203.0.2:8080 -conns 64 -rate 3000 -warmup 1s -duration 8s
//
// It prints the result as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/bench/netra/load"
	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("client", client)) }

func client(_ context.Context, args []string, _ func(string) string, stdout, stderr io.Writer) error {
	var c load.Config
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.TextVar(&c.Target, "target", netip.AddrPort{}, "the application's `address:port`")
	flags.StringVar(&c.Path, "path", "/", "what to ask for")
	flags.IntVar(&c.Conns, "conns", 64, "keep-alive connections; with -churn, requests that may be under way")
	flags.Float64Var(&c.Rate, "rate", 0, "requests per second; 0: each connection sends when it has its answer")
	flags.DurationVar(&c.Warmup, "warmup", time.Second, "how long to send before latencies are kept")
	flags.DurationVar(&c.Duration, "duration", 8*time.Second, "how long they are kept")
	flags.BoolVar(&c.Churn, "churn", false, "a new connection for each request, closed by the client")
	flags.Func("sources", "`addresses` to connect from, in turn, separated by commas", func(list string) error {
		for _, item := range strings.Split(list, ",") {
			a, err := netip.ParseAddr(item)
			if err != nil {
				return err
			}
			c.Sources = append(c.Sources, a)
		}
		return nil
	})
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && int(files.Cur) < c.Conns+32 {
		return fmt.Errorf("opening %d connections: only %d files may be open; raise it with ulimit -n", c.Conns, files.Cur)
	}
	result, err := load.Run(c)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(result)
}
