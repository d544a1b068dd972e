package api

import "time"

// PullRequest is the body of POST /pull on a Stinger.
type PullRequest struct {
	// Commit is the full hex id of the commit to run; empty means the tip of
	// HubBranch.
	Commit string `json:"commit,omitempty"`
	// Restart, where set, overrides START_AFTER_PULL for this pull.
	Restart *bool `json:"restart,omitempty"`
}

// PullResult answers a PullRequest: what the container runs now.
type PullResult struct {
	Commit    string `json:"commit"`
	Tree      string `json:"tree"`
	Changed   int    `json:"changed"` // files written or removed
	Restarted bool   `json:"restarted"`
	PID       int    `json:"pid,omitempty"`
	// Built, Reloaded and Signals say what else was done: the build script ran,
	// the reload script ran beside the process, the process was sent signals
	// (without SIG).
	Built    bool     `json:"built,omitempty"`
	Reloaded bool     `json:"reloaded,omitempty"`
	Signals  []string `json:"signals,omitempty"`
	// Superseded is set where a newer commit was asked for while this one
	// waited; Commit is then the newer one.
	Superseded bool `json:"superseded,omitempty"`
	// Error is empty where all went well; the old tree or the old process
	// goes on where it is not.
	Error string `json:"error,omitempty"`
	// Output holds the last lines of a failed build or reload.
	Output  string  `json:"output,omitempty"`
	Timings Timings `json:"timings"`
}

// Timings are the parts of a pull, in milliseconds.
type Timings struct {
	Fetch   float64 `json:"fetchMs"`
	Apply   float64 `json:"applyMs"`
	Build   float64 `json:"buildMs,omitempty"`
	Restart float64 `json:"restartMs,omitempty"` // or reload
}

// State of a supervised process.
type State string

// The states of a supervised process.
const (
	StateWaiting  State = "waiting"  // no code yet
	StateBuilding State = "building" // the build script runs
	StateRunning  State = "running"
	StateStopping State = "stopping"
	StateStopped  State = "stopped" // on request
	StateBackoff  State = "backoff" // it ended by itself and waits to be started again
)

// StingerStatus is the answer of GET /status on a Stinger.
type StingerStatus struct {
	Version   string     `json:"version"`
	Commit    string     `json:"commit,omitempty"`
	Tree      string     `json:"tree,omitempty"`
	State     State      `json:"state"`
	PID       int        `json:"pid,omitempty"`
	Restarts  int        `json:"restarts"` // starts after the first, asked for or not
	Crashes   int        `json:"crashes"`  // ends that nobody asked for
	LastExit  string     `json:"lastExit,omitempty"`
	LastError string     `json:"lastError,omitempty"`
	StartedAt *time.Time `json:"startedAt,omitempty"`
	PulledAt  *time.Time `json:"pulledAt,omitempty"`
}

// Error is the body of every answer of Stinger's and Tanajura's that is not a
// success.
type Error struct {
	Error string `json:"error"`
}
