// Package load sends HTTP/1.1 requests at a constant rate and says how long
// each took.
//
//	result, err := load.Run(load.Config{Target: app, Path: "/", Conns: 64, Rate: 3000, Duration: 8 * time.Second})
//
// The load is an open loop: request i is due at start + i/rate, however slow
// the answers before it were (schedule.go). Two times are kept of each request:
// from its being written to its answer's last byte (service), and from the
// moment that it was due (due), in which a stall counts for all requests that
// had to wait behind it. With a rate of 0 the loop is closed: each connection
// sends again as soon as it has its answer, and the throughput is what counts.
//
// A generator on the machine that it measures must cost little and be on time.
// So there is one goroutine on one thread, which waits by epoll_pwait2 for the
// next answer or the next due time, whichever comes first, to the nanosecond
// (engine.go); it parses no more of an answer than its status and length
// (answer.go), and makes no garbage while it runs.
package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Config is one run.
type Config struct {
	Target netip.AddrPort
	Path   string
	// Conns is how many keep-alive connections take turns; with Churn, how many
	// requests may be under way.
	Conns int
	// Rate is requests per second; 0: closed loop.
	Rate float64
	// Latencies are kept of requests that are due after Warmup, for Duration.
	Warmup, Duration time.Duration
	// Churn makes a connection for each request, and closes it first.
	Churn bool
	// Sources are the addresses that connections are made from, in turn: one
	// address has only so many ports.
	Sources []netip.Addr
}

// Result is what a run found out. Counts are of the whole run, warm-up
// included.
type Result struct {
	TargetRate float64 `json:"target_rate"` // requests per second; 0: closed loop
	Rate       float64 `json:"rate"`        // answers per second, after the warm-up
	Sent       int     `json:"sent"`
	OK         int     `json:"ok"`
	BadStatus  int     `json:"bad_status"`
	Errors     int     `json:"errors"` // of requests
	ConnErrors int     `json:"conn_errors"`
	Unanswered int     `json:"unanswered"` // when the run was given up
	NotSent    int     `json:"not_sent"`   // due, but no connection was free to the end
	Redials    int     `json:"redials"`
	LastError  string  `json:"last_error,omitempty"`
	Samples    int     `json:"samples"`
	Service    Latency `json:"service"`
	Due        Latency `json:"due"`
}

// Failed returns how many requests were not answered well.
func (r *Result) Failed() int {
	return r.BadStatus + r.Errors + r.ConnErrors + r.Unanswered + r.NotSent
}

func (c Config) validate() error {
	var faults []error
	if !c.Target.Addr().Is4() {
		faults = append(faults, fmt.Errorf("target %s: want an IPv4 address and a port", c.Target))
	}
	for _, s := range c.Sources {
		if !s.Is4() {
			faults = append(faults, fmt.Errorf("source %s: want an IPv4 address", s))
		}
	}
	if c.Conns < 1 {
		faults = append(faults, fmt.Errorf("%d connections: want one or more", c.Conns))
	}
	if c.Rate < 0 || c.Rate > 1e6 {
		faults = append(faults, fmt.Errorf("rate %g: want 0 (closed loop) to 1,000,000 requests per second", c.Rate))
	}
	if c.Churn && c.Rate == 0 {
		faults = append(faults, errors.New("new connections in a closed loop: want a rate"))
	}
	if c.Warmup < 0 || c.Duration <= 0 {
		faults = append(faults, fmt.Errorf("warm-up %v, duration %v: want times above 0", c.Warmup, c.Duration))
	}
	return errors.Join(faults...)
}
