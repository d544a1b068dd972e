package report

import (
	"fmt"
	"math"
)

// Row is a figure of all peers, with netra's verdict.
type Row struct {
	Figure string `json:"figure"`
	Unit   string `json:"unit,omitempty"`
	// Values are by peer. How netra compares with each is told by ratios, or by
	// differences where the values themselves are differences.
	Values      map[string]*Value `json:"values"`
	Ratios      map[string]*Value `json:"ratios,omitempty"`
	Differences map[string]*Value `json:"differences,omitempty"`
	Bar         *Goal             `json:"bar,omitempty"`
	Aim         *Goal             `json:"aim,omitempty"`
	Verdict     Verdict           `json:"verdict,omitempty"`
}

// Goal is what a figure is to come to.
type Goal struct {
	Text    string  `json:"text"`
	Outcome Outcome `json:"outcome"`
}

// Outcome says what became of a goal.
type Outcome string

// Outcomes.
const (
	Met     Outcome = "met"
	Missed  Outcome = "missed"
	Unknown Outcome = "not measured"
)

// Verdict is on a figure with its bar and its aim.
type Verdict string

// verdict judges. An aim is more than a bar, so it is not met without it.
func verdict(bar, aim *Goal) Verdict {
	switch {
	case bar.Outcome != Met:
		return Verdict("bar " + bar.Outcome)
	case aim == nil || aim.Outcome == Missed:
		return "bar met"
	case aim.Outcome == Unknown:
		return "bar met, aim not measured"
	}
	return "aim met"
}

func outcome(met bool) Outcome {
	if met {
		return Met
	}
	return Missed
}

// What the goals are about.
const (
	cpuRate      = 3000 // requests per second
	latencyRate  = 1000
	churnRate    = 3000
	churnSeconds = 60
	holdConns    = 2000
	abortClients = 200
	abortBytes   = 20 << 20
)

// Judge returns the figures that have goals, with their verdicts.
func Judge(measured []Sample) []Row {
	all := samples(measured)
	held := all.series(Netra, StepHold, heldConns).value()
	aborted := all.series(Netra, StepAbort, func(s *Sample) (float64, bool) {
		return 0, s.Abort != nil && s.Abort.Clients >= abortClients && s.Abort.Bytes >= abortBytes
	}).value()
	rows := []Row{
		all.row(fmt.Sprintf("CPU per request at %s RPS", thousands(cpuRate)), "µs", StepRate(cpuRate), cpuPerRequest).
			bar(ratioAtMost(Splice)).aim(ratioAtMost(HAProxy)),
		all.addedRow(fmt.Sprintf("added p99 at %s RPS", thousands(latencyRate)), StepRate(latencyRate), p99).
			bar(atMost(0.35)).aim(noMoreThan(HAProxy)),
		all.row("highest throughput", "RPS", StepClosed, rate).
			bar(ratioAtLeast(Splice)).aim(ratioAtLeast(HAProxy)),
		all.row("RSS, idle", "MiB", StepIdle, idleMiB).bar(atMost(9)).aim(atMost(7)),
		all.row(fmt.Sprintf("RSS at %s RPS, peak", thousands(cpuRate)), "MiB", StepRate(cpuRate), peakMiB).
			bar(atMost(16)).aim(atMost(14)),
		all.row(fmt.Sprintf("RSS with %s idle keep-alive connections", thousands(holdConns)), "MiB", StepHold, heldMiB).
			bar(atMost(20)).aim(atMost(16)).only(held != nil && held.Min >= holdConns),
		all.churn(),
		all.row(fmt.Sprintf("growth while %d clients reset a 20 MB download", abortClients), "MiB", StepAbort, abortMiB).
			bar(atMost(10)).aim(atMost(2)).only(aborted != nil),
		all.row("threads for each proxied connection", "", StepHold, threads).
			bar(Row.noThread).only(held != nil && held.Min >= holdConns),
		all.row("descriptors for each proxied connection", "", StepHold, descriptors).
			bar(Row.twoDescriptors).only(held != nil && held.Min >= holdConns),
	}
	for i := range rows {
		rows[i].Verdict = verdict(rows[i].Bar, rows[i].Aim)
	}
	return rows
}

// row gathers a figure of all peers.
func (all samples) row(name, unit, step string, f figure) Row {
	r := Row{Figure: name, Unit: unit}
	r.Values, r.Ratios = all.gather(func(peer string) series { return all.series(peer, step, f) }, quotient)
	return r
}

// addedRow gathers by how much each exceeds direct, in milliseconds.
func (all samples) addedRow(name, step string, f figure) Row {
	r := Row{Figure: name, Unit: "ms"}
	r.Values, r.Differences = all.gather(func(peer string) series { return all.added(peer, step, f) }, difference)
	return r
}

func (all samples) gather(of func(peer string) series, compare func(a, b float64) (float64, bool)) (values, against map[string]*Value) {
	values, against = map[string]*Value{}, map[string]*Value{}
	netra := of(Netra)
	for _, peer := range all.peers() {
		s := of(peer)
		if v := s.value(); v != nil {
			values[peer] = v
		}
		if v := netra.by(s, compare).value(); v != nil && peer != Netra {
			against[peer] = v
		}
	}
	return values, against
}

// churn judges new connections. Its figure is how many requests failed.
func (all samples) churn() Row {
	r := all.row(fmt.Sprintf("of new connections, %s/s for %d s, failed", thousands(churnRate), churnSeconds), "", StepChurn, failed)
	rates := all.row("", "", StepChurn, rate)
	asked := all.series(Netra, StepChurn, ran(func(s *Sample) float64 { return s.Load.TargetRate })).value()
	lasted := all.series(Netra, StepChurn, ran(func(s *Sample) float64 { return s.Seconds })).value()
	none := func(r Row) Goal {
		return goalOf("none", r.Values[Netra] != nil, func() bool {
			return r.Values[Netra].Max == 0 && rates.Values[Netra].Min >= 0.99*asked.Median
		})
	}
	direct := func(r Row) Goal {
		return goalOf("as direct", r.Values[Netra] != nil && r.Values[Direct] != nil, func() bool {
			return r.Values[Netra].Max <= r.Values[Direct].Max && rates.Values[Netra].Min >= 0.99*rates.Values[Direct].Min
		})
	}
	whole := asked != nil && asked.Min >= churnRate && lasted.Min >= churnSeconds
	r = r.bar(none).aim(direct).only(whole)
	r.Ratios = rates.Ratios // failures have none
	return r
}

func (r Row) bar(goal func(Row) Goal) Row {
	g := goal(r)
	r.Bar = &g
	return r
}

func (r Row) aim(goal func(Row) Goal) Row {
	g := goal(r)
	r.Aim = &g
	return r
}

// only makes the goals unknown where what was measured is less than they are
// about.
func (r Row) only(enough bool) Row {
	for _, g := range []*Goal{r.Bar, r.Aim} {
		if g != nil && !enough {
			g.Outcome = Unknown
		}
	}
	return r
}

func goalOf(text string, known bool, met func() bool) Goal {
	if !known {
		return Goal{text, Unknown}
	}
	return Goal{text, outcome(met())}
}

func atMost(limit float64) func(Row) Goal {
	return func(r Row) Goal {
		v := r.Values[Netra]
		return goalOf(fmt.Sprintf("≤ %g", limit), v != nil, func() bool { return v.Median <= limit })
	}
}

func noMoreThan(peer string) func(Row) Goal {
	return func(r Row) Goal {
		v := r.Differences[peer]
		return goalOf("≤ "+peer, v != nil, func() bool { return v.Median <= 0 })
	}
}

func ratioAtMost(peer string) func(Row) Goal {
	return func(r Row) Goal {
		v := r.Ratios[peer]
		return goalOf("≤ "+peer, v != nil, func() bool { return v.Median <= 1 })
	}
}

func ratioAtLeast(peer string) func(Row) Goal {
	return func(r Row) Goal {
		v := r.Ratios[peer]
		return goalOf("≥ "+peer, v != nil, func() bool { return v.Median >= 1 })
	}
}

// noThread allows for the few threads that a Go program may start at any time.
func (r Row) noThread() Goal {
	v := r.Values[Netra]
	return goalOf("none", v != nil, func() bool { return v.Max < 0.01 })
}

// twoDescriptors allows for the few that belong to no connection.
func (r Row) twoDescriptors() Goal {
	v := r.Values[Netra]
	return goalOf("2", v != nil, func() bool { return math.Round(v.Max*10)/10 <= 2 })
}
