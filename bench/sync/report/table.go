package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
)

// WriteTables writes all tables as Markdown.
func (r *Results) WriteTables(w io.Writer) error {
	var b strings.Builder
	r.times(&b)
	r.growth(&b)
	r.costs(&b)
	r.disks(&b)
	r.hops(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// bar is what a figure must not exceed, in ms; 0 is none.
type bar struct{ median, p95 float64 }

// bars are the project's own, on one machine, where they depend on nothing that
// is not measured here.
func bars(label, measure string) bar {
	switch {
	case strings.Contains(label, "farther") && measure == Content:
		return bar{median: 300}
	case strings.Contains(label, "farther"):
		return bar{}
	}
	switch measure {
	case Content, ByRename, New1, Rename, Delete:
		return bar{60, 120}
	case Process, ByRenameProcess:
		return bar{90, 180}
	case Rewrite, NewDirs, Remove:
		return bar{median: 250}
	case Branch:
		return bar{median: 3000}
	case First:
		if label == Label(10000) {
			return bar{median: 3000}
		}
	}
	return bar{}
}

func (r *Results) times(b *strings.Builder) {
	b.WriteString("| what | at | median, ms | p95, ms | tar loop: median, ms | p95, ms | median to the tar loop's | bar | |\n|---|---|--:|--:|--:|--:|--:|---|---|\n")
	for _, row := range r.Rows {
		if row.Side != Plugin {
			continue
		}
		peer := r.row(row.Label, row.Measure, Tar)
		limit := bars(row.Label, row.Measure)
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", row.Measure, row.Label,
			number(row.Percentile(50))+never(row), number(row.Percentile(95)), number(peer.Percentile(50))+never(peer), number(peer.Percentile(95)),
			ratio(row.Percentile(50), peer.Percentile(50)), limit, limit.verdict(row))
	}
}

// disks says what making a file costs, by which bursts and transfers are to be
// judged.
func (r *Results) disks(b *strings.Builder) {
	for _, name := range []string{DiskHere, DiskNode} {
		if samples := r.Disks[name]; len(samples) > 0 {
			fmt.Fprintf(b, "\nmaking a file, ms, on the disk of the %s: %.3f (%.3f to %.3f)\n", name, percentile(samples, 50), slices.Min(samples), slices.Max(samples))
		}
	}
	b.WriteString("\n")
}

func never(row *Row) string {
	if row == nil || row.Never == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d never)", row.Never)
}

func (l bar) String() string {
	switch {
	case l.median == 0:
		return ""
	case l.p95 == 0:
		return number(l.median)
	}
	return number(l.median) + " / " + number(l.p95)
}

func (l bar) verdict(row *Row) string {
	switch {
	case row.Never > 0:
		return "no"
	case l.median == 0:
		return ""
	case row.Percentile(50) > l.median || l.p95 > 0 && row.Percentile(95) > l.p95:
		return "no"
	}
	return "yes"
}

// growth compares the sizes.
func (r *Results) growth(b *strings.Builder) {
	for _, measure := range []string{Content, Process} {
		small, large := r.row(Label(1000), measure, Plugin), r.row(Label(100000), measure, Plugin)
		if small == nil || large == nil {
			continue
		}
		fmt.Fprintf(b, "\n%s at 100,000 files over 1,000: %s (bar 1.5)", measure, ratio(large.Percentile(50), small.Percentile(50)))
		if t1, t2 := r.row(Label(1000), measure, Tar), r.row(Label(100000), measure, Tar); t1 != nil && t2 != nil {
			fmt.Fprintf(b, "; of the tar loop %s", ratio(t2.Percentile(50), t1.Percentile(50)))
		}
		b.WriteString("\n")
	}
}

func (r *Results) costs(b *strings.Builder) {
	b.WriteString("\n| program | at | processor per save, ms | processors when idle | peak memory, MB | equal in the end |\n|---|---|--:|--:|--:|---|\n")
	for _, u := range r.Usage {
		idle, peak := "", ""
		if u.Peak > 0 {
			idle, peak = fmt.Sprintf("%.4f", u.Idle), number(u.Peak)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", u.Side, u.Label, number(mean(u.Saves)), idle, peak, yes(u.Equal))
	}
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func (r *Results) hops(b *strings.Builder) {
	parts := []struct {
		name string
		of   func(devspace.SyncRecord) float64
	}{
		{"watch", func(s devspace.SyncRecord) float64 { return s.Hops.Watch }},
		{"snapshot", func(s devspace.SyncRecord) float64 { return s.Hops.Snapshot }},
		{"prepare", func(s devspace.SyncRecord) float64 { return s.Hops.Prepare }},
		{"send", func(s devspace.SyncRecord) float64 { return s.Hops.Send }},
		{"wait for the hub", func(s devspace.SyncRecord) float64 { return s.Hops.Wait }},
		{"hub → pod → hub", func(s devspace.SyncRecord) float64 {
			return inPod(s, func(i int) float64 { return s.Outcomes[i].Millis })
		}},
		{"of it fetch", func(s devspace.SyncRecord) float64 {
			return inPod(s, func(i int) float64 { return s.Outcomes[i].Result.Timings.Fetch })
		}},
		{"apply", func(s devspace.SyncRecord) float64 {
			return inPod(s, func(i int) float64 { return s.Outcomes[i].Result.Timings.Apply })
		}},
		{"restart", func(s devspace.SyncRecord) float64 {
			return inPod(s, func(i int) float64 { return s.Outcomes[i].Result.Timings.Restart })
		}},
		{"answer", func(s devspace.SyncRecord) float64 { return s.Hops.Answer }},
		{"total", func(s devspace.SyncRecord) float64 { return s.Hops.Total }},
	}
	b.WriteString("\n| medians of the hops, ms |")
	for _, part := range parts {
		fmt.Fprintf(b, " %s |", part.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("--:|", len(parts)) + "\n")
	for _, h := range r.Hops {
		fmt.Fprintf(b, "| %s |", h.Label)
		for _, part := range parts {
			var samples []float64
			for _, s := range h.Saves {
				samples = append(samples, part.of(s))
			}
			samples = slices.DeleteFunc(samples, math.IsNaN)
			fmt.Fprintf(b, " %s |", number(percentile(samples, 50)))
		}
		b.WriteString("\n")
	}
}

// inPod is a figure of the first pod's; NaN where there is none.
func inPod(s devspace.SyncRecord, of func(i int) float64) float64 {
	if len(s.Outcomes) == 0 {
		return math.NaN()
	}
	return of(0)
}

func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func ratio(a, b float64) string {
	if math.IsNaN(a) || math.IsNaN(b) {
		return "–"
	}
	return fmt.Sprintf("%.2f", a/b)
}
