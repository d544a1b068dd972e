// Sync measures a save's journey on a real cluster: from just before a file is
// opened for writing to the response of a pod that shows the whole new content,
// and to the first response of a process that started after the save.
//
//	go run ./bench/sync -json results.json
//
// Each size has two directories of equal files and two pods that differ in
// nothing but the way in which code reaches them: a service that the plugin deployed
// and keeps in sync, and a plain pod that is fed by a warm tar stream over exec
// (program tarloop), which is the floor of a tool without checks. Both sync all
// the time, and saves take turns between them, so that what else the machine
// does is in both figures: their ratio means something, and a figure alone
// does not where the machine is not quiet.
//
// A pod has two containers with one directory: in one the process that restarts
// (package probe), in the other what serves the directory's files to the polls,
// which no restart disturbs. Polls go straight to the pod's address, every 2
// ms, over one kept connection.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/formicarium/formicarium/bench/sync/report"
	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("bench-sync", bench)) }

// settings of a run.
type settings struct {
	Files  []int         `json:"files"`
	Rounds int           `json:"rounds"`
	Few    int           `json:"few"`
	Pause  time.Duration `json:"pause_ns"`
	Idle   time.Duration `json:"idle_ns"`
	Branch int           `json:"branch_files"`
	Trip   time.Duration `json:"round_trip_ns"`
	Tar    bool          `json:"tar"`

	json          string
	verbose, keep bool
}

func readSettings(args []string, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("sync", flag.ContinueOnError)
	flags.SetOutput(stderr)
	files := flags.String("files", "1000,10000,100000", "sizes of directories, in files")
	flags.IntVar(&s.Rounds, "rounds", 20, "saves of each size and side")
	flags.IntVar(&s.Few, "few", 5, "saves by rename, new files, deletes, renames and bursts of each size and side")
	flags.DurationVar(&s.Pause, "pause", time.Second, "between two saves, and up to a fifth more, so that no timer is in step")
	flags.DurationVar(&s.Idle, "idle", 10*time.Second, "how long nothing happens, for the idle figures")
	flags.IntVar(&s.Branch, "branch", 40000, "files of the directory in which an eighth changes with the branch; 0 leaves it out")
	flags.DurationVar(&s.Trip, "trip", 50*time.Millisecond, "round trip that is added on the way to the API server, at 10,000 files; 0 leaves it out")
	flags.BoolVar(&s.Tar, "tar", true, "measure the tar loop beside it")
	flags.StringVar(&s.json, "json", "", "write every sample to this `file`, too")
	flags.BoolVar(&s.verbose, "v", false, "show what is run")
	flags.BoolVar(&s.keep, "keep", false, "leave the devspace and the installation on the cluster")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	var faults []error
	for text := range strings.SplitSeq(*files, ",") {
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < burstFiles {
			faults = append(faults, fmt.Errorf("-files=%q: want numbers from %d", text, burstFiles))
		}
		s.Files = append(s.Files, n)
	}
	if s.Rounds < 1 || s.Few < 1 {
		faults = append(faults, fmt.Errorf("-rounds=%d, -few=%d: want 1 or more", s.Rounds, s.Few))
	}
	if s.Branch < 0 || s.Branch > 0 && s.Branch < burstFiles {
		faults = append(faults, fmt.Errorf("-branch=%d: want 0, or %d or more", s.Branch, burstFiles))
	}
	if s.Trip < 0 || s.Pause < 0 || s.Idle < 0 {
		faults = append(faults, fmt.Errorf("-trip=%s, -pause=%s, -idle=%s: want 0 or more", s.Trip, s.Pause, s.Idle))
	}
	return s, errors.Join(faults...)
}

func bench(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	s, err := readSettings(args, stderr)
	if err != nil {
		return err
	}
	results := report.New(s)
	if err := measure(ctx, s, results, getenv, stderr); err != nil {
		return err
	}
	if err := results.WriteTables(stdout); err != nil || s.json == "" {
		return err
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.json, append(text, '\n'), 0o644)
}

// measure runs all stages. What could be measured before a stage that failed is
// in the error's company only: half a table is easily taken for a whole one.
func measure(ctx context.Context, s settings, results *report.Results, getenv func(string) string, stderr io.Writer) (err error) {
	st, err := openStage(ctx, s, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	if err := lookAtDisks(st, results, getenv); err != nil {
		return err
	}
	for _, files := range s.Files {
		if err := measureSize(ctx, s, st, results, files); err != nil {
			return fmt.Errorf("measuring %d files: %w", files, err)
		}
		if err := lookAtDisks(st, results, getenv); err != nil {
			return err
		}
	}
	if s.Branch > 0 {
		if err := measureBranch(ctx, s, st, results); err != nil {
			return fmt.Errorf("measuring the change of a branch: %w", err)
		}
	}
	if s.Trip > 0 {
		if err := measureTrip(ctx, s, st, results); err != nil {
			return fmt.Errorf("measuring a longer way: %w", err)
		}
	}
	return nil
}
