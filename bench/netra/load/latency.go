package load

import (
	"math"
	"slices"
)

// Latency is what became of all samples, in microseconds.
type Latency struct {
	Mean float64 `json:"mean_us"`
	P50  float64 `json:"p50_us"`
	P90  float64 `json:"p90_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Max  float64 `json:"max_us"`
}

// summarise sorts samples of nanoseconds and returns what they come to; zero
// where there is none.
func summarise(samples []int64) Latency {
	if len(samples) == 0 {
		return Latency{}
	}
	slices.Sort(samples)
	var sum float64
	for _, s := range samples {
		sum += float64(s)
	}
	at := func(share float64) float64 { return float64(samples[rank(len(samples), share)]) / 1e3 }
	return Latency{sum / float64(len(samples)) / 1e3, at(.5), at(.9), at(.99), at(.999), at(1)}
}

// rank returns which of n sorted samples is the percentile: the smallest one
// that so great a share of them does not exceed.
func rank(n int, share float64) int {
	// A share such as 0.99 is a little above or below the decimal it stands for.
	return max(0, int(math.Ceil(share*float64(n)-1e-6))-1)
}
