package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Further returns the figures that have no goals, or show what those with goals
// are made of.
func Further(measured []Sample, rates []int) []Row {
	all := samples(measured)
	var rows []Row
	for _, r := range rates {
		step, at := StepRate(r), " at "+thousands(r)+" RPS"
		rows = append(rows,
			all.row("CPU per request"+at, "µs", step, cpuPerRequest),
			all.row("p50"+at, "ms", step, p50),
			all.row("p99"+at, "ms", step, p99),
			all.addedRow("added p50"+at, step, p50),
			all.addedRow("added p99"+at, step, p99),
			all.addedRow("added p99 from due"+at, step, dueP99),
			all.row("RSS, peak,"+at, "MiB", step, peakMiB),
			all.row("application's CPU per request"+at, "µs", step, appCost),
			all.row("failed"+at, "", step, failed),
			all.row("all else on the machine"+at, "cores", step, noise),
		)
	}
	return append(rows,
		all.row("highest throughput", "RPS", StepClosed, rate),
		all.row("CPU per request at that", "µs", StepClosed, cpuPerRequest),
		all.row("RSS, idle", "MiB", StepIdle, idleMiB),
		all.row("idle connections held", "", StepHold, heldConns),
		all.row("RSS with them", "MiB", StepHold, heldMiB),
		all.row("growth by clients that reset", "MiB", StepAbort, abortMiB),
		all.row("new connections", "per s", StepChurn, rate),
		all.row("new connections failed", "", StepChurn, failed),
		all.row("CPU per new connection", "µs", StepChurn, cpuPerRequest),
	)
}

// Print writes what a reader wants of the results, in Markdown.
func Print(w io.Writer, r *Results) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\nMedians of rounds, with the least and the greatest. Against peers: netra's figure\nas a ratio to the peer's in the same round; signed numbers are differences.\n\n")
	writeTable(b, []string{"figure", "netra", "bar", "aim", "verdict", "against peers"}, r.Rows, func(row Row) []string {
		return []string{row.title(), row.Values[Netra].String(), row.Bar.String(), row.Aim.String(), string(row.Verdict), row.against(r.Peers)}
	})
	fmt.Fprintf(b, "\nMedians of all:\n\n")
	writeTable(b, append([]string{"figure"}, r.Peers...), r.Figures, func(row Row) []string {
		cells := []string{row.title()}
		for _, peer := range r.Peers {
			cell := "–"
			if v := row.Values[peer]; v != nil {
				cell = number(v.Median)
			}
			cells = append(cells, cell)
		}
		return cells
	})
	for _, lines := range [][]string{r.LeftOut, r.notes(), r.Failures} {
		for _, line := range lines {
			fmt.Fprintf(b, "\n%s\n", line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Loud is how many cores all else on the machine may take before a measurement
// counts as disturbed. On two cores that client, application and sidecar share,
// more shows in the latencies.
const Loud = 0.15

// notes says what makes figures doubtful.
func (r *Results) notes() []string {
	var notes []string
	disturbed, steps := 0, 0
	for _, s := range r.Samples {
		if s.Measurement == nil {
			continue
		}
		steps++
		if s.OtherCores > Loud {
			disturbed++
		}
		if t := s.Traces; t != nil && t.Dropped > 0 {
			notes = append(notes, fmt.Sprintf("round %d: netra dropped %d of %d spans, which cost it less than sending them would.", s.Round, t.Dropped, t.Spans))
		}
	}
	if disturbed > 0 {
		notes = append(notes, fmt.Sprintf("%d of %d loads were disturbed: all else on the machine took more than %g cores.", disturbed, steps, Loud))
	}
	return notes
}

func writeTable(b *strings.Builder, head []string, rows []Row, cells func(Row) []string) {
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	line(slices.Repeat([]string{"---"}, len(head)))
	for _, row := range rows {
		line(cells(row))
	}
}

func (r Row) title() string {
	if r.Unit == "" {
		return r.Figure
	}
	return r.Figure + ", " + r.Unit
}

func (r Row) against(peers []string) string {
	var out []string
	for _, peer := range peers {
		if v := r.Ratios[peer]; v != nil {
			out = append(out, fmt.Sprintf("%s %.2f", peer, v.Median))
		}
		if v := r.Differences[peer]; v != nil {
			out = append(out, fmt.Sprintf("%s %+.3f", peer, v.Median))
		}
	}
	return strings.Join(out, ", ")
}

// String returns a value as a table shows it.
func (v *Value) String() string {
	if v == nil {
		return "–"
	}
	if v.Rounds == 1 {
		return number(v.Median)
	}
	return fmt.Sprintf("%s (%s to %s)", number(v.Median), number(v.Min), number(v.Max))
}

// String returns a goal as a table shows it.
func (g *Goal) String() string {
	if g == nil {
		return ""
	}
	return g.Text
}

// number shows three digits that count, and all before the point.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	if decimals > 3 {
		decimals = 3
	}
	if math.Abs(v) >= 1000 {
		return thousands(int(math.Round(v)))
	}
	return fmt.Sprintf("%.*f", decimals, v)
}

// thousands writes a whole number with commas.
func thousands(n int) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
