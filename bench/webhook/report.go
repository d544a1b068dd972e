package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// row is one pod in one round. Times are in milliseconds.
type row struct {
	Pod         string  `json:"pod"`
	ReviewBytes int     `json:"review_bytes"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	Max         float64 `json:"max_ms"`
	// Processor is the server's processor time for one review, user and system,
	// in milliseconds.
	Processor float64 `json:"processor_ms"`
	// PerSecond is how many reviews are answered when each connection sends as
	// soon as it can, and ProcessorAtMost what share of a processor that takes.
	PerSecond        float64 `json:"reviews_per_second"`
	ProcessorsAtMost float64 `json:"processors_at_most"`
	// OthersAtRate and OthersAtMost are how many processors all else on the
	// machine took in the first and the second load.
	OthersAtRate float64 `json:"others_at_rate"`
	OthersAtMost float64 `json:"others_at_most"`
}

// at notes the load at a constant rate; times are sorted.
func (r *row) at(times []time.Duration, processor time.Duration) {
	r.P50, r.P99 = millis(percentile(times, 50)), millis(percentile(times, 99))
	r.Max = millis(times[len(times)-1])
	r.Processor = millis(processor) / float64(len(times))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// percentile returns the smallest time that p of 100 do not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

type results struct {
	Go       string   `json:"go"`
	Machine  string   `json:"machine"`
	Settings settings `json:"settings"`
	Rounds   []row    `json:"rounds"`
}

func newResults(s settings) *results {
	return &results{Go: runtime.Version(), Machine: fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()), Settings: s}
}

// median returns the medians of a pod's rounds.
func (r *results) median(pod string) row {
	of := func(figure func(row) float64) float64 {
		var all []float64
		for _, round := range r.Rounds {
			if round.Pod == pod {
				all = append(all, figure(round))
			}
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return row{
		Pod: pod, P50: of(func(r row) float64 { return r.P50 }), P99: of(func(r row) float64 { return r.P99 }),
		Processor: of(func(r row) float64 { return r.Processor }), PerSecond: of(func(r row) float64 { return r.PerSecond }),
		ProcessorsAtMost: of(func(r row) float64 { return r.ProcessorsAtMost }),
		OthersAtRate:     of(func(r row) float64 { return r.OthersAtRate }), OthersAtMost: of(func(r row) float64 { return r.OthersAtMost }),
		ReviewBytes: int(of(func(r row) float64 { return float64(r.ReviewBytes) })),
	}
}

// Goals of the webhook, on one processor.
const (
	goalP99       = 5.0 // ms
	goalPerSecond = 500
)

func writeTable(w io.Writer, r *results) error {
	if _, err := fmt.Fprintf(w, "| pod | review, bytes | p50 at %d/s, ms | p99, ms | processor per review, ms | reviews per second on one processor | p99 under %g ms, %d/s | all else, processors |\n|---|--:|--:|--:|--:|--:|---|--:|\n", r.Settings.Rate, goalP99, goalPerSecond); err != nil {
		return err
	}
	for _, p := range pods {
		m := r.median(p.name)
		verdict := "no"
		if m.P99 < goalP99 && m.PerSecond >= goalPerSecond {
			verdict = "yes"
		}
		if _, err := fmt.Fprintf(w, "| %s | %d | %.2f | %.2f | %.3f | %.0f | %s | %.2f, %.2f |\n",
			m.Pod, m.ReviewBytes, m.P50, m.P99, m.Processor, m.PerSecond, verdict, m.OthersAtRate, m.OthersAtMost); err != nil {
			return err
		}
	}
	return nil
}
