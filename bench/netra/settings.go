package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/formicarium/formicarium/bench/netra/report"
)

// settings are all that a run is told, and the sizes that follow from it.
type settings struct {
	Rounds   int           `json:"rounds"`
	Duration time.Duration `json:"duration_ns"` // of each load, after its warm-up
	Rates    []int         `json:"rates"`
	Peers    []string      `json:"peers"`
	Stages   []string      `json:"stages"`
	Quick    bool          `json:"quick"`
	Patience time.Duration `json:"patience_ns"`
	Attempts int           `json:"attempts"`

	Conns        int           `json:"conns"`
	Warmup       time.Duration `json:"warmup_ns"`
	Settle       time.Duration `json:"settle_ns"` // before memory is looked at
	HoldConns    int           `json:"hold_conns"`
	AbortClients int           `json:"abort_clients"`
	ChurnRate    int           `json:"churn_rate"`
	Churn        time.Duration `json:"churn_ns"`

	json    string
	profile string
	prefix  string // of the namespaces' names
}

// defaults are what the goals are about.
func defaults() settings {
	return settings{
		Rounds: 5, Duration: 8 * time.Second, Rates: []int{1000, 3000}, Peers: peerNames(), Stages: stageNames, Patience: 30 * time.Second, Attempts: 3,
		Conns: 64, Warmup: time.Second, Settle: 2 * time.Second, HoldConns: 2000, AbortClients: 200, ChurnRate: 3000, Churn: 60 * time.Second,
		json: filepath.Join("bin", "results", "bench-netra.json"), prefix: "fmc-bench",
	}
}

// hasten makes the settings those of a smoke run, but for the flags that were
// given.
func (s *settings) hasten(given map[string]bool) {
	quick := map[string]func(){
		"rounds":   func() { s.Rounds = 1 },
		"duration": func() { s.Duration = time.Second },
		"patience": func() { s.Patience = 0 },
		"attempts": func() { s.Attempts = 1 },
	}
	for name, set := range quick {
		if !given[name] {
			set()
		}
	}
	s.Warmup, s.Settle = 200*time.Millisecond, 200*time.Millisecond
	s.HoldConns, s.AbortClients, s.ChurnRate, s.Churn = 200, 20, 500, s.Duration
}

// readSettings reads the arguments, and reports all faults at once.
func readSettings(args []string, stderr io.Writer) (settings, error) {
	s := defaults()
	flags := flag.NewFlagSet("bench-netra", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.Rounds, "rounds", s.Rounds, "rounds, in each of which all peers have their turn; 0 with -profile")
	flags.DurationVar(&s.Duration, "duration", s.Duration, "how long each load lasts, after its warm-up")
	flags.Func("rates", "requests per `second`, separated by commas (default 1000,3000)", func(list string) (err error) {
		s.Rates, err = readRates(list)
		return err
	})
	flags.Func("peers", "`names`, separated by commas (default "+strings.Join(s.Peers, ",")+")", func(list string) (err error) {
		s.Peers, err = readPeers(list)
		return err
	})
	flags.Func("stages", "`names`, separated by commas (default "+strings.Join(s.Stages, ",")+")", func(list string) (err error) {
		s.Stages, err = chosen(list, stageNames)
		return err
	})
	flags.BoolVar(&s.Quick, "quick", false, "a smoke run of about a minute: small sizes, one round")
	flags.DurationVar(&s.Patience, "patience", s.Patience, "how long to wait before each load until the machine is quiet")
	flags.IntVar(&s.Attempts, "attempts", s.Attempts, "how often a load is tried for a quiet one")
	flags.StringVar(&s.json, "json", s.json, "`file` for every sample")
	flags.StringVar(&s.profile, "profile", "", "`directory` for CPU profiles of netra, taken after the rounds")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("reading the arguments: %q is too many; -h lists the flags", flags.Args())
	}
	if s.Quick {
		given := map[string]bool{}
		flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
		s.hasten(given)
	}
	return s, s.validate()
}

func (s settings) validate() error {
	var faults []error
	if s.Rounds < 0 || (s.Rounds == 0 && s.profile == "") {
		faults = append(faults, fmt.Errorf("-rounds %d: want 1 or more, or 0 with -profile", s.Rounds))
	}
	// Below this a rate of 1000 has no 99th percentile to speak of.
	if s.Duration < 100*time.Millisecond {
		faults = append(faults, fmt.Errorf("-duration %v: want 100ms or more", s.Duration))
	}
	if s.Patience < 0 {
		faults = append(faults, fmt.Errorf("-patience %v: want 0 or more", s.Patience))
	}
	if s.Attempts < 1 {
		faults = append(faults, fmt.Errorf("-attempts %d: want 1 or more", s.Attempts))
	}
	if s.json == "" {
		faults = append(faults, errors.New(`-json "": want a file`))
	}
	return errors.Join(faults...)
}

func readRates(list string) ([]int, error) {
	var rates []int
	for _, item := range strings.Split(list, ",") {
		n, err := strconv.Atoi(item)
		if err != nil || n < 1 || n > 200_000 {
			return nil, fmt.Errorf("%q: want requests per second, 1 to 200000, separated by commas", item)
		}
		rates = append(rates, n)
	}
	return rates, nil
}

// readPeers always has direct: what a sidecar adds is known by it.
func readPeers(list string) ([]string, error) {
	peers, err := chosen(list, peerNames())
	if err == nil && !slices.Contains(peers, report.Direct) {
		peers = slices.Insert(peers, 0, report.Direct)
	}
	return peers, err
}

// chosen returns those of all that a list names, in the order of all.
func chosen(list string, all []string) ([]string, error) {
	asked := strings.Split(list, ",")
	for _, name := range asked {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("%q: want names of %s", name, strings.Join(all, ", "))
		}
	}
	var names []string
	for _, name := range all {
		if slices.Contains(asked, name) {
			names = append(names, name)
		}
	}
	return names, nil
}
