package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/formicarium/formicarium/bench/sync/report"
)

// madeFiles is how many files are made to see what one costs.
const madeFiles = 500

// clusterDir is where e2e/cluster keeps its node, volumes included.
const clusterDir = "/var/lib/formicarium-e2e"

// lookAtDisks notes what making a file costs where the directories are and
// where the node's volumes are. All that changes hundreds of files is mostly
// that: on a file system from which many files were deleted a moment ago it is
// fifty times of what it is on a new one.
func lookAtDisks(st *stage, results *report.Results, getenv func(string) string) error {
	for name, dir := range map[string]string{report.DiskHere: st.folder, report.DiskNode: cmp.Or(getenv("FMC_CLUSTER_DIR"), clusterDir)} {
		cost, err := fileCost(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the node is another machine
		}
		if err != nil {
			return err
		}
		results.AddDisk(name, cost)
	}
	return nil
}

// fileCost makes files in a directory of their own below dir and returns how
// long each took.
func fileCost(dir string) (_ time.Duration, err error) {
	dir, err = os.MkdirTemp(dir, "cost-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	text := make([]byte, 2400) // as the directories' files have
	begun := time.Now()
	for i := range madeFiles {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), text, 0o644); err != nil {
			return 0, err
		}
	}
	return time.Since(begun) / madeFiles, nil
}
