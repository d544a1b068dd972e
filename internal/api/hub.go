package api

import "time"

// Repository is one service's repository on a hub: the body of POST
// /api/repositories (only Name is read) and of its answers.
type Repository struct {
	Name string `json:"name"`
	// Head is the full hex id of the commit at HubBranch; empty before the
	// first push.
	Head    string    `json:"head,omitempty"`
	Created time.Time `json:"created,omitzero"`
}

// RepositoryList is the answer of GET /api/repositories.
type RepositoryList struct {
	Repositories []Repository `json:"repositories"`
}

// HeaderOutcomes asks, with the value OutcomesJSON on a push's git-receive-pack
// request, for one JSON Outcome on each progress line in place of the
// lines that git shows to people.
const (
	HeaderOutcomes = "Formicarium-Outcomes"
	OutcomesJSON   = "json"
)

// Outcome is what became of a push in one container.
type Outcome struct {
	Pod       string     `json:"pod"`
	Container string     `json:"container"`
	Result    PullResult `json:"result"`
	// Error is set where the container's Stinger could not be asked.
	Error string `json:"error,omitempty"`
	// Millis is the time from the hub's question to the Stinger's answer.
	Millis float64 `json:"ms"`
}

// InjectionStatus is the JSON value of AnnotationStatus.
type InjectionStatus struct {
	Version string `json:"version"`
	Service string `json:"service"`
	// Injected lists what was added: "netra", "stinger".
	Injected []string `json:"injected"`
	// Skipped maps what was asked for and not added to the reason.
	Skipped map[string]string `json:"skipped,omitempty"`
	// Stingers lists the supervised containers with their Stinger's port.
	Stingers []StingerEndpoint `json:"stingers,omitempty"`
	// Probes lists the probes that were rewritten, as they were before.
	Probes []RewrittenProbe `json:"probes,omitempty"`
	// Undo takes all of it out again.
	Undo *InjectionUndo `json:"undo,omitempty"`
}

// StingerEndpoint is where one container's Stinger listens.
type StingerEndpoint struct {
	Container string `json:"container"`
	Port      int    `json:"port"`
}
