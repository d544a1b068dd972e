// Hub measures what many saves cost a devspace's hub.
//
//	go run ./bench/hub -json results.json
//	go run ./bench/hub -saves 1000
//
// It starts a hub as a process of its own, on loopback, without TLS and without
// pods, and makes saves as kubectl-fmc does: a directory of small files, of
// which each save changes one; a snapshot, and a push by package push over one
// kept connection. Collections run as in a devspace, beside the pushes.
//
// After each tenth of the saves it notes the pushes' times in it, the size and
// the packs of the repository, and the hub's memory, so that the table shows
// whether any of them grows. Client and hub share the machine's processors.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("bench-hub", bench)) }

// settings of a run.
type settings struct {
	Files int `json:"files"`
	Saves int `json:"saves"`
}

// results of a run.
type results struct {
	Go       string   `json:"go"`
	Machine  string   `json:"machine"`
	Settings settings `json:"settings"`
	// FirstMillis and FirstBytes are of the push of all files.
	FirstMillis float64 `json:"first_push_ms"`
	FirstBytes  int64   `json:"first_push_bytes"`
	Tenths      []tenth `json:"tenths"`
	// Clone is what a pod takes to fetch the last commit alone, with the real
	// git, after all saves.
	CloneMillis float64 `json:"clone_ms"`
}

func bench(ctx context.Context, args []string, _ func(string) string, stdout, stderr io.Writer) error {
	var s settings
	flags := flag.NewFlagSet("hub", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("json", "", "write all figures to this `file`, too")
	flags.IntVar(&s.Files, "files", 10_000, "files in the directory")
	flags.IntVar(&s.Saves, "saves", 10_000, "saves to make")
	serving := flags.String("serve", "", "be the hub, in this `directory`: for the benchmark itself")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *serving != "" {
		return serve(ctx, *serving, stdout)
	}
	if s.Files < 1 || s.Saves < tenths {
		return fmt.Errorf("reading the flags: files %d, saves %d: want at least 1 and %d", s.Files, s.Saves, tenths)
	}
	r := &results{
		Go: runtime.Version(), Machine: fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()), Settings: s,
	}
	if err := r.measure(ctx, stderr); err != nil {
		return err
	}
	if err := r.table(stdout); err != nil || *file == "" {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return os.WriteFile(*file, append(text, '\n'), 0o644)
}

// Goals for all saves: what a save may add to the repository on average, and by
// how much the median push of the last tenth may exceed that of the first.
const (
	goalBytes  = 1000
	goalGrowth = 1.5
)

func (r *results) verdict(w io.Writer) error {
	first, last := r.Tenths[0], r.Tenths[len(r.Tenths)-1]
	perSave, growth := float64(last.Bytes-r.FirstBytes)/float64(last.Saves), last.P50/first.P50
	say := func(good bool) string {
		if good {
			return "yes"
		}
		return "no"
	}
	_, err := fmt.Fprintf(w, "\na save adds under %d bytes: %s (%.0f); the last pushes take under %g times the first: %s (%.2f)\n",
		goalBytes, say(perSave < goalBytes), perSave, goalGrowth, say(growth < goalGrowth), growth)
	return err
}

func (r *results) table(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "first push of %d files: %.0f ms, %.1f MB; fetching the last commit after all: %.0f ms\n\n"+
		"| saves | push p50, ms | p95, ms | p99, ms | snapshot p50, ms | repository, MB | packs | hub's memory, MB |\n|--:|--:|--:|--:|--:|--:|--:|--:|\n",
		r.Settings.Files, r.FirstMillis, float64(r.FirstBytes)/1e6, r.CloneMillis); err != nil {
		return err
	}
	for _, t := range r.Tenths {
		if _, err := fmt.Fprintf(w, "| %d | %.1f | %.1f | %.1f | %.1f | %.1f | %d | %.1f |\n",
			t.Saves, t.P50, t.P95, t.P99, t.Snapshot, float64(t.Bytes)/1e6, t.Packs, float64(t.Memory)/1e6); err != nil {
			return err
		}
	}
	return r.verdict(w)
}
