package devspace

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
)

// SyncRecord is one event of a sync as a line of JSON. Times are in
// milliseconds.
type SyncRecord struct {
	Time    time.Time `json:"time"`
	Service string    `json:"service"`
	// Kind is "synced", "failed", "notice" or "replaced"; "checked" says that what
	// was synced runs, or why it does not, "mended" that a pod has another tree
	// or has the right one again; "unsent", and "taken-over" or "undeployed", come
	// last, where somebody else took the service over or undeployed it.
	Kind string `json:"kind"`
	// Text is the failure or the notice.
	Text     string   `json:"text,omitempty"`
	Commit   string   `json:"commit,omitempty"`
	Tree     string   `json:"tree,omitempty"`
	UpToDate bool     `json:"upToDate,omitempty"`
	Changed  int      `json:"changed,omitempty"`
	Paths    []string `json:"paths,omitempty"` // the first of what changed
	Skipped  []string `json:"skipped,omitempty"`
	// Large are the largest files of what changed.
	Large   []snapshot.LargeFile `json:"large,omitempty"`
	Objects int                  `json:"objects,omitempty"`
	Bytes   int64                `json:"bytes,omitempty"` // sent
	// Hops are a save's parts on this machine's clock; what happened in the
	// pods is in Outcomes.
	Hops     *SyncHops     `json:"hops,omitempty"`
	Outcomes []api.Outcome `json:"outcomes,omitempty"`
}

// SyncHops are the parts of a save's way, in milliseconds.
type SyncHops struct {
	Watch    float64 `json:"watch"`    // from the first change that was seen until it was taken up
	Snapshot float64 `json:"snapshot"` // reading what changed
	Prepare  float64 `json:"prepare"`  // finding what the hub lacks
	Send     float64 `json:"send"`
	Wait     float64 `json:"wait"`   // until the hub's answer began
	Answer   float64 `json:"answer"` // until the last pod's outcome had arrived
	Total    float64 `json:"total"`
}

// WatchRecords is Watch for programs: each event is one line of JSON.
func (d *Directory) WatchRecords(ctx context.Context, out io.Writer) error {
	r := &recorder{service: d.service, encoder: json.NewEncoder(SyncWriter(out))}
	r.encoder.SetEscapeHTML(false)
	return d.watch(ctx, r)
}

// recorder is the reporter of WatchRecords.
type recorder struct {
	service string
	mu      sync.Mutex
	encoder *json.Encoder // guarded by mu
}

// write ignores that nobody reads: it must not hold up the saves' way to the
// pods.
func (r *recorder) write(record SyncRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record.Time, record.Service = time.Now(), r.service
	_ = r.encoder.Encode(record)
}

func (r *recorder) event(e snapshot.Event) { r.write(syncRecord(e)) }
func (r *recorder) mended(text string)     { r.write(SyncRecord{Kind: "mended", Text: text}) }

func (r *recorder) takenOver(lost error) {
	kind := "taken-over"
	if e := new(TakenOverError); errors.As(lost, &e) && e.Undeployed {
		kind = "undeployed"
	}
	r.write(SyncRecord{Kind: kind, Text: lost.Error()})
}

func (r *recorder) checked(p Pushed, err error) {
	record := SyncRecord{Kind: "checked", Commit: p.Commit, Tree: p.Tree}
	if err != nil {
		record.Text = err.Error()
	}
	r.write(record)
}

func syncRecord(e snapshot.Event) SyncRecord {
	r := SyncRecord{Text: e.Text}
	switch e.Kind {
	case snapshot.Synced:
		r.Kind = "synced"
		r.Commit, r.Tree, r.UpToDate = e.Push.Commit.String(), e.Push.Tree.String(), e.Push.UpToDate
		r.Changed, r.Paths, r.Large = e.Snapshot.Changed, e.Snapshot.Paths, e.Snapshot.Large
		r.Objects, r.Bytes, r.Outcomes = e.Push.Objects, e.Push.Bytes, e.Push.Outcomes
		for _, skipped := range e.Snapshot.Skipped {
			r.Skipped = append(r.Skipped, skipped.String())
		}
		r.Hops = &SyncHops{
			Watch: milliseconds(e.Timings.Watch), Snapshot: milliseconds(e.Timings.Snapshot),
			Prepare: milliseconds(e.Push.Timings.Prepare), Send: milliseconds(e.Push.Timings.Send),
			Wait: milliseconds(e.Push.Timings.Wait), Answer: milliseconds(e.Push.Timings.Answer),
			Total: milliseconds(e.Timings.Total),
		}
	case snapshot.Failed:
		r.Kind, r.Text = "failed", e.Err.Error()
	case snapshot.Notice:
		r.Kind = "notice"
	case snapshot.Unsent:
		r.Kind, r.Paths = "unsent", e.Snapshot.Paths
	case snapshot.Replaced:
		r.Kind, r.Commit = "replaced", e.Head.String()
	}
	return r
}

// milliseconds is exact to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
