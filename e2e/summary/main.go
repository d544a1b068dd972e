// Command summary counts the results of test runs that gotestsum wrote as JSON
// and prints one table. It fails where a part has a failure or no test.
//
//	go run ./e2e/summary bin/results unit e2e     # reads unit.json and e2e.json
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("summary", summary)) }

// counts are those of tests and subtests.
type counts struct {
	passed, failed, skipped int
	seconds                 float64 // of all packages, which may run side by side
}

func summary(_ context.Context, args []string, _ func(string) string, stdout, _ io.Writer) error {
	if len(args) < 2 {
		return errors.New("usage: summary DIR PART…")
	}
	var all counts
	var faults []error
	fmt.Fprintf(stdout, "\n%-14s %8s %8s %8s %10s\n", "", "passed", "failed", "skipped", "seconds")
	for _, part := range args[1:] {
		c, err := count(filepath.Join(args[0], part+".json"))
		switch {
		case err != nil:
			faults = append(faults, err)
		case c.passed+c.failed == 0:
			faults = append(faults, fmt.Errorf("%s: no test ran", part))
		case c.failed > 0:
			faults = append(faults, fmt.Errorf("%s: %d failed", part, c.failed))
		}
		fmt.Fprintf(stdout, "%-14s %8d %8d %8d %10.1f\n", part, c.passed, c.failed, c.skipped, c.seconds)
		all.passed, all.failed, all.skipped = all.passed+c.passed, all.failed+c.failed, all.skipped+c.skipped
	}
	fmt.Fprintf(stdout, "\n%d passed, %d failed, %d skipped\n", all.passed, all.failed, all.skipped)
	return errors.Join(faults...)
}

// count reads the events of `go test -json`. A package that fails without a
// test that does, by not building for instance, counts as one failure.
func count(path string) (counts, error) {
	var c counts
	f, err := os.Open(path)
	if err != nil {
		return c, fmt.Errorf("reading results: %w", err)
	}
	defer f.Close()
	failedIn := map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // a line of output is at most some KiB
	for lines.Scan() {
		var event struct {
			Action, Package, Test string
			Elapsed               float64
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return c, fmt.Errorf("reading results in %s: %w", path, err)
		}
		switch {
		case event.Test == "" && event.Action == "fail" && !failedIn[event.Package]:
			c.failed++
		case event.Test == "" && (event.Action == "pass" || event.Action == "fail"):
			c.seconds += event.Elapsed
		case event.Test != "" && event.Action == "pass":
			c.passed++
		case event.Test != "" && event.Action == "skip":
			c.skipped++
		case event.Test != "" && event.Action == "fail":
			c.failed++
			failedIn[event.Package] = true
		}
	}
	return c, lines.Err()
}
