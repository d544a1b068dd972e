package report

import (
	"maps"
	"slices"
)

// Value is a figure over all rounds.
type Value struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Rounds int     `json:"rounds"`
}

// series is a figure by round.
type series map[int]float64

// value returns what a series comes to; nil where it is empty.
func (s series) value() *Value {
	if len(s) == 0 {
		return nil
	}
	v := slices.Sorted(maps.Values(s))
	n := len(v)
	return &Value{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1], Rounds: n}
}

// by returns f of both series in each round that both have; where f does not
// know, the round is left out.
func (s series) by(other series, f func(a, b float64) (float64, bool)) series {
	out := series{}
	for round, a := range s {
		if b, ok := other[round]; ok {
			if v, ok := f(a, b); ok {
				out[round] = v
			}
		}
	}
	return out
}

func quotient(a, b float64) (float64, bool) {
	if b <= 0 {
		return 0, false
	}
	return a / b, true
}

func difference(a, b float64) (float64, bool) { return a - b, true }

// figure is how a number is had of a sample.
type figure func(s *Sample) (float64, bool)

// samples are a run's.
type samples []Sample

// series returns a peer's figure in each round.
func (all samples) series(peer, step string, f figure) series {
	out := series{}
	for i := range all {
		s := &all[i]
		if s.Peer != peer || s.Step != step {
			continue
		}
		if v, ok := f(s); ok {
			out[s.Round] = v
		}
	}
	return out
}

// added returns by how much a peer's figure exceeds that of no sidecar.
func (all samples) added(peer, step string, f figure) series {
	if peer == Direct {
		return nil
	}
	return all.series(peer, step, f).by(all.series(Direct, step, f), difference)
}

// peers returns the names in order of their first sample.
func (all samples) peers() []string {
	var names []string
	for _, s := range all {
		if !slices.Contains(names, s.Peer) {
			names = append(names, s.Peer)
		}
	}
	return names
}

const mebibyte = 1024 // of /proc's kibibytes

// Figures. The sidecar's are none without one.

func cpuPerRequest(s *Sample) (float64, bool) { // µs
	if s.Measurement == nil || s.Load == nil || s.Load.Sent == 0 || s.Peer == Direct {
		return 0, false
	}
	return s.SidecarCPU / float64(s.Load.Sent) * 1e6, true
}

// ran makes a figure of what a load did.
func ran(f func(s *Sample) float64) figure {
	return func(s *Sample) (float64, bool) {
		if s.Measurement == nil || s.Load == nil {
			return 0, false
		}
		return f(s), true
	}
}

// answered makes a figure of answers, and so of none without them.
func answered(f func(s *Sample) float64) figure {
	return func(s *Sample) (float64, bool) {
		v, ok := ran(f)(s)
		return v, ok && s.Load.OK > 0
	}
}

var (
	p50     = answered(func(s *Sample) float64 { return s.Load.Service.P50 / 1e3 }) // ms
	p99     = answered(func(s *Sample) float64 { return s.Load.Service.P99 / 1e3 })
	dueP99  = answered(func(s *Sample) float64 { return s.Load.Due.P99 / 1e3 })
	rate    = ran(func(s *Sample) float64 { return s.Load.Rate })
	failed  = ran(func(s *Sample) float64 { return float64(s.Load.Failed()) })
	noise   = ran(func(s *Sample) float64 { return s.OtherCores })
	appCost = ran(func(s *Sample) float64 { return s.AppCPU / float64(max(1, s.Load.Sent)) * 1e6 })
)

func peakMiB(s *Sample) (float64, bool) {
	if s.Measurement == nil || s.Peer == Direct {
		return 0, false
	}
	return float64(s.Memory.Peak) / mebibyte, true
}

func idleMiB(s *Sample) (float64, bool) {
	if s.Idle == nil {
		return 0, false
	}
	return float64(s.Idle.RSS) / mebibyte, true
}

// held makes a figure of idle connections.
func held(f func(h *Hold) float64) figure {
	return func(s *Sample) (float64, bool) {
		if s.Hold == nil || s.Hold.Conns == 0 {
			return 0, false
		}
		return f(s.Hold), true
	}
}

var (
	heldMiB   = held(func(h *Hold) float64 { return float64(h.Held.RSS) / mebibyte })
	heldConns = held(func(h *Hold) float64 { return float64(h.Conns) })
	threads   = held(func(h *Hold) float64 {
		return float64(h.Held.Threads-h.Before.Threads) / float64(h.Conns)
	})
	descriptors = held(func(h *Hold) float64 {
		return float64(h.Held.Descriptors-h.Before.Descriptors) / float64(h.Conns)
	})
)

func abortMiB(s *Sample) (float64, bool) {
	if s.Abort == nil {
		return 0, false
	}
	return float64(s.Abort.After.Peak-s.Abort.Before.RSS) / mebibyte, true
}
