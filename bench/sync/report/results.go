// Package report holds the samples of a run and makes its tables.
package report

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
)

// The sides.
const (
	Plugin = "fmc"
	Tar    = "tar"
)

// What is measured.
const (
	Content         = "save → new content"
	Process         = "save → new process"
	ByRename        = "save by rename → new content"
	ByRenameProcess = "save by rename → new process"
	New1            = "new file"
	Rename          = "rename"
	Delete          = "delete"
	Rewrite         = "200 files rewritten"
	NewDirs         = "200 files in new directories"
	Remove          = "200 files removed"
	Branch          = "change of branch, an eighth of the files"
	First           = "first transfer"
)

// Label names a size.
func Label(files int) string { return fmt.Sprintf("%d files", files) }

// LabelTrip names a longer way.
func LabelTrip(trip time.Duration) string { return "10000 files, " + trip.String() + " farther" }

// Results of a run.
type Results struct {
	Go       string    `json:"go"`
	Machine  string    `json:"machine"`
	When     time.Time `json:"when"`
	Load     string    `json:"load"` // /proc/loadavg at the start
	Settings any       `json:"settings"`
	// Disks are what making a file took, in ms, at the start and after each size.
	Disks map[string][]float64 `json:"disks_file_ms"`
	Rows  []*Row               `json:"rows"`
	Usage []*Usage             `json:"usage"`
	Hops  []*Hops              `json:"hops"`
}

// Row is the samples of one measure at one size, on one side.
type Row struct {
	Label   string `json:"label"`
	Measure string `json:"measure"`
	Side    string `json:"side"`
	// Samples are in milliseconds, in the order in which they were taken.
	Samples []float64 `json:"samples_ms"`
	// Never counts what never came.
	Never int `json:"never"`
}

// Usage is what a side's program takes on the laptop.
type Usage struct {
	Label string `json:"label"`
	Side  string `json:"side"`
	// Saves are the processor time around each save, in ms, each exact to 10:
	// their mean counts.
	Saves []float64 `json:"saves_ms"`
	Idle  float64   `json:"idle_processors"`
	Peak  float64   `json:"peak_mb"`
	// Equal says whether both directories were equal in the end.
	Equal bool `json:"equal"`
}

// Hops are the parts of the plugin's saves.
type Hops struct {
	Label string                `json:"label"`
	Saves []devspace.SyncRecord `json:"saves"`
}

// New returns empty results.
func New(settings any) *Results {
	load, _ := os.ReadFile("/proc/loadavg") // elsewhere there is none
	return &Results{
		Go: runtime.Version(), Machine: fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		When: time.Now().UTC(), Load: strings.TrimSpace(string(load)), Settings: settings,
	}
}

// The disks on which making a file is timed.
const (
	DiskHere = "directories"
	DiskNode = "node"
)

// AddDisk notes what making a file took.
func (r *Results) AddDisk(name string, took time.Duration) {
	if r.Disks == nil {
		r.Disks = map[string][]float64{}
	}
	r.Disks[name] = append(r.Disks[name], millis(took))
}

// Add adds a sample; a negative one never came.
func (r *Results) Add(label, measure, side string, took time.Duration) {
	row := r.row(label, measure, side)
	if row == nil {
		row = &Row{Label: label, Measure: measure, Side: side}
		r.Rows = append(r.Rows, row)
	}
	if took < 0 {
		row.Never++
		return
	}
	row.Samples = append(row.Samples, millis(took))
}

func (r *Results) row(label, measure, side string) *Row {
	for _, row := range r.Rows {
		if row.Label == label && row.Measure == measure && row.Side == side {
			return row
		}
	}
	return nil
}

func (r *Results) usage(label, side string) *Usage {
	for _, u := range r.Usage {
		if u.Label == label && u.Side == side {
			return u
		}
	}
	u := &Usage{Label: label, Side: side}
	r.Usage = append(r.Usage, u)
	return u
}

// AddProcessor adds the processor time around one save.
func (r *Results) AddProcessor(label, side string, used time.Duration) {
	u := r.usage(label, side)
	u.Saves = append(u.Saves, millis(used))
}

// SetUsage notes the processors that an idle program takes, and its peak of memory.
func (r *Results) SetUsage(label, side string, idle, peak float64) {
	u := r.usage(label, side)
	u.Idle, u.Peak = idle, peak
}

// SetEqual notes whether the directories are equal in the end.
func (r *Results) SetEqual(label, side string, equal bool) { r.usage(label, side).Equal = equal }

// AddHops adds one save of the plugin's.
func (r *Results) AddHops(label string, record devspace.SyncRecord) {
	if record.Kind != "synced" || record.Hops == nil || record.UpToDate {
		return
	}
	for _, h := range r.Hops {
		if h.Label == label {
			h.Saves = append(h.Saves, record)
			return
		}
	}
	r.Hops = append(r.Hops, &Hops{Label: label, Saves: []devspace.SyncRecord{record}})
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Percentile returns the smallest sample that p of 100 do not exceed; NaN where
// there is none.
func (r *Row) Percentile(p int) float64 {
	if r == nil {
		return math.NaN()
	}
	return percentile(r.Samples, p)
}

func percentile(samples []float64, p int) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func mean(samples []float64) float64 {
	sum := 0.0
	for _, s := range samples {
		sum += s
	}
	return sum / float64(len(samples))
}
