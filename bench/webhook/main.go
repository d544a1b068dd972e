// Webhook measures how fast the webhook answers reviews.
//
//	go run ./bench/webhook -json results.json
//
// It starts the webhook's server (gin, TLS, metrics, log, injection; the
// namespaces are a table) as a process of its own with one processor
// (GOMAXPROCS=1), and is the API server to it: HTTP/1.1 over TLS on loopback,
// connections kept, reviews of a pod with two containers, probes, volumes and
// environment.
//
// Each pod is measured in two loads. In the first, reviews are sent at a
// constant rate, whatever becomes of the answers, and a time is from the moment
// that the review was due, so that a stall counts for all that waited. In the
// second, each connection sends when it has its answer, which shows how many
// reviews the processor can answer.
//
// Client and server share the machine's processors with all else that runs. Each
// load waits until that is quiet, and is repeated where it did not stay so; the
// table says what all else took.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("bench-webhook", bench)) }

// settings of a run.
type settings struct {
	Rate        int           `json:"rate"`
	Connections int           `json:"connections"`
	Rounds      int           `json:"rounds"`
	Time        time.Duration `json:"time_ns"`
	Patience    time.Duration `json:"patience_ns"`
	Attempts    int           `json:"attempts"`
	json        string
	profile     string
}

func bench(ctx context.Context, args []string, _ func(string) string, stdout, stderr io.Writer) error {
	var s settings
	flags := flag.NewFlagSet("webhook", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.json, "json", "", "write every round to this `file`, too")
	flags.IntVar(&s.Rate, "rate", 500, "reviews a second in the first load")
	flags.IntVar(&s.Connections, "connections", 16, "kept connections")
	flags.IntVar(&s.Rounds, "rounds", 3, "rounds; the table has their medians")
	flags.DurationVar(&s.Time, "time", 10*time.Second, "of each load")
	flags.DurationVar(&s.Patience, "patience", time.Minute, "how long each load waits, at most, for the rest of the machine to be quiet")
	flags.IntVar(&s.Attempts, "attempts", 3, "how often a load is tried for it to stay quiet")
	flags.StringVar(&s.profile, "profile", "", "write a CPU profile of the server to this `file`")
	serving := flags.Bool("serve", false, "be the server: for the benchmark itself")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *serving {
		return serve(s.profile, os.Stdin, stdout)
	}
	if s.Rate < 1 || s.Connections < 1 || s.Rounds < 1 || s.Attempts < 1 || s.Time < time.Second {
		return fmt.Errorf("reading the flags: rate %d, connections %d, rounds %d, attempts %d, time %s: want numbers above 0 and a second or more", s.Rate, s.Connections, s.Rounds, s.Attempts, s.Time)
	}
	results, err := measure(ctx, s, stderr)
	if err != nil {
		return err
	}
	if err := writeTable(stdout, results); err != nil {
		return err
	}
	if s.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.json, append(text, '\n'), 0o644)
}

// measure runs all rounds. In each, the pods take turns.
func measure(ctx context.Context, s settings, stderr io.Writer) (*results, error) {
	server, err := startServer(ctx, s.profile)
	if err != nil {
		return nil, err
	}
	defer func() { _ = server.stop() }()
	r := newResults(s)
	for round := range s.Rounds {
		for _, p := range pods {
			fmt.Fprintf(stderr, "round %d of %d: %s\n", round+1, s.Rounds, p.name)
			row, err := measurePod(ctx, s, server, p)
			if err != nil {
				return nil, fmt.Errorf("measuring %q: %w", p.name, err)
			}
			r.Rounds = append(r.Rounds, row)
		}
	}
	return r, server.stop()
}

func measurePod(ctx context.Context, s settings, server *process, p pod) (row, error) {
	review, err := p.review()
	if err != nil {
		return row{}, err
	}
	client := newClient(server.ready, s.Connections, review, p.injected)
	defer client.close()
	r := row{Pod: p.name, ReviewBytes: len(review)}
	// Connections are opened, and what is made once is made, before anything counts.
	if _, err := client.closed(ctx, s.Connections, time.Second); err != nil {
		return row{}, err
	}
	times, took, err := attempt(ctx, s, server, &r.OthersAtRate, func() ([]time.Duration, error) {
		return client.open(ctx, s.Rate, s.Connections, s.Time)
	})
	if err != nil {
		return row{}, err
	}
	r.at(times, took)
	times, took, err = attempt(ctx, s, server, &r.OthersAtMost, func() ([]time.Duration, error) {
		return client.closed(ctx, s.Connections, s.Time)
	})
	r.PerSecond, r.ProcessorsAtMost = float64(len(times))/s.Time.Seconds(), took.Seconds()/s.Time.Seconds()
	return r, err
}

// attempt runs a load when the machine is quiet, and again where it did not stay
// so; of its attempts it returns the quietest, with the processor time that the
// server took.
func attempt(ctx context.Context, s settings, server *process, others *float64, load func() ([]time.Duration, error)) (best []time.Duration, took time.Duration, err error) {
	for n := range s.Attempts {
		if err := server.await(ctx, s.Patience); err != nil {
			return nil, 0, err
		}
		before, err := server.usage()
		if err != nil {
			return nil, 0, err
		}
		start := server.processor()
		times, err := load()
		if err != nil {
			return nil, 0, err
		}
		used := server.processor() - start
		after, err := server.usage()
		if err != nil {
			return nil, 0, err
		}
		if o := after.others(before); n == 0 || o < *others {
			best, took, *others = times, used, o
		}
		if *others < quiet {
			break
		}
	}
	return best, took, nil
}
