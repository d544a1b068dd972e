// Inference measures how well netra joins an application's outbound requests to
// the inbound ones that cause them, where the application forwards no header.
//
//	go run ./bench/inference -json results.json
//
// It replays loads through netra's proxy, in this process, on loopback:
//
//	clients → proxy (inbound) → application → proxy (outbound) → callee
//
// A load is a scenario at a number of requests in flight. Clients and
// application carry the truth, which request caused which call, in a header
// that netra does not look at; the callee notes it beside the traceparent that
// the call came with, and the spans say what netra made of it. A call is right
// if its span's parent is that of the request that caused it.
//
// What is printed is a table, and with -json the same counts as a file. The
// seed fixes what the load is, not how it is scheduled, so counts differ a
// little from run to run.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("bench-inference", measure)) }

// levels are the numbers of requests in flight.
var levels = []int{1, 2, 5, 20}

func measure(ctx context.Context, args []string, _ func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("inference", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("json", "", "write the counts to this `file`, too")
	requests := flags.Int("requests", 500, "requests in each load")
	seed := flags.Uint64("seed", 1, "of the load's random choices")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *requests < 1 {
		return fmt.Errorf("reading -requests: %d is not allowed: a number above 0", *requests)
	}
	var rows []row
	for _, s := range scenarios {
		for _, n := range levels {
			r, err := replay(ctx, s, n, *requests, *seed)
			if err != nil {
				return fmt.Errorf("replaying %q with %d in flight: %w", s.name, n, err)
			}
			rows = append(rows, r)
		}
	}
	if err := writeTable(stdout, rows); err != nil {
		return err
	}
	if *file == "" {
		return nil
	}
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*file, append(text, '\n'), 0o644)
}
