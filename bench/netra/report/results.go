// Package report makes figures and verdicts of what the benchmark has measured.
//
//	r.Rows = report.Judge(r.Samples)
//	report.Print(stdout, r)
//
// All is computed from samples: each figure is a median over rounds, and what
// compares two proxies is the median over rounds of their ratio or difference
// within a round, because the machine that a round ran on is only ever the same
// for that round (figures.go). Bars and aims stand in one table (goals.go).
package report

import (
	"fmt"
	"time"

	"github.com/formicarium/formicarium/bench/netra/bed"
)

// Names of the peers that others are compared with.
const (
	Direct  = "direct" // no sidecar
	Netra   = "netra"
	Splice  = "splice"
	HAProxy = "haproxy"
)

// Steps of a round.
const (
	StepIdle   = "idle"   // before any request
	StepHold   = "hold"   // idle keep-alive connections
	StepAbort  = "abort"  // clients that reset a download
	StepClosed = "closed" // as many requests as it takes
	StepChurn  = "churn"  // a connection for each request
)

// StepRate is the step at so many requests per second.
func StepRate(rate int) string { return fmt.Sprintf("rate-%d", rate) }

// Results are a whole run. They are what is written as JSON.
type Results struct {
	Began    time.Time           `json:"began"`
	Ended    time.Time           `json:"ended"`
	Complete bool                `json:"complete"` // false: written after a round, while more were to come
	Command  string              `json:"command"`
	Settings any                 `json:"settings"`
	Machine  map[string]string   `json:"machine"`
	Versions map[string]string   `json:"versions"`
	Commands map[string][]string `json:"commands"` // of each peer, environment included
	Files    map[string]string   `json:"files"`    // configurations that the commands name
	Redirect string              `json:"redirect"` // for nft
	LeftOut  []string            `json:"left_out,omitempty"`
	Failures []string            `json:"failures,omitempty"`
	Peers    []string            `json:"peers"`
	Rows     []Row               `json:"rows"`
	Figures  []Row               `json:"figures"`
	Samples  []Sample            `json:"samples"`
}

// Sample is one step of one peer in one round, and has what the step measures.
type Sample struct {
	Round   int    `json:"round"`
	Peer    string `json:"peer"`
	Step    string `json:"step"`
	Attempt int    `json:"attempt,omitempty"` // the quietest of some is kept
	*bed.Measurement
	Idle   *bed.Memory `json:"idle,omitempty"`
	Hold   *Hold       `json:"hold,omitempty"`
	Abort  *Abort      `json:"abort,omitempty"`
	Traces *Traces     `json:"traces,omitempty"` // netra only, up to this step
}

// Hold is what idle connections cost.
type Hold struct {
	Conns  int        `json:"conns"`
	Before bed.Memory `json:"before"`
	Held   bed.Memory `json:"held"`
}

// Abort is what resetting clients cost.
type Abort struct {
	Clients int        `json:"clients"`
	Bytes   int        `json:"bytes"` // that each asked for
	Before  bed.Memory `json:"before"`
	After   bed.Memory `json:"after"`
}

// Traces says what became of the requests' spans.
type Traces struct {
	Requests  int `json:"requests"`
	Spans     int `json:"spans"`
	Dropped   int `json:"dropped"`
	Datagrams int `json:"datagrams"` // that the agent's stand-in got
}
