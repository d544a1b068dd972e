package load

import "time"

// schedule says when requests are due, in nanoseconds since the run began. It
// is all integers, and each time is computed from the start, so that no error
// adds up.
type schedule struct {
	start   int64
	perMega int64 // nanoseconds that a million requests take
	total   int
}

// newSchedule returns the schedule of so many requests per second for so long.
func newSchedule(start int64, rate float64, length time.Duration) schedule {
	return schedule{start, int64(1e15 / rate), int(rate * length.Seconds())}
}

// due returns when request i is due.
func (s schedule) due(i int) int64 {
	mega, rest := int64(i)/1e6, int64(i)%1e6
	return s.start + mega*s.perMega + rest*s.perMega/1e6
}
