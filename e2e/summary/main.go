// Command summary counts the results of test runs that gotestsum wrote as JSON
// and prints one table, and after it the last words and the names of the tests
// that failed: who has only the end of a log must find there what to look at. It
// fails where a part has a failure or no test.
//
//	go run ./e2e/summary bin/results unit e2e     # reads unit.json and e2e.json
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("summary", summary)) }

func summary(_ context.Context, args []string, _ func(string) string, stdout, _ io.Writer) error {
	if len(args) < 2 {
		return errors.New("usage: summary DIR PART…")
	}
	var all result
	var faults []error
	fmt.Fprintf(stdout, "\n%-14s %8s %8s %8s %10s\n", "", "passed", "failed", "skipped", "seconds")
	for _, part := range args[1:] {
		r, err := read(filepath.Join(args[0], part+".json"))
		switch {
		case err != nil:
			faults = append(faults, err)
		case r.passed+r.failed == 0:
			faults = append(faults, fmt.Errorf("%s: no test ran", part))
		case r.failed > 0:
			faults = append(faults, fmt.Errorf("%s: %d failed", part, r.failed))
		}
		fmt.Fprintf(stdout, "%-14s %8d %8d %8d %10.1f\n", part, r.passed, r.failed, r.skipped, r.seconds)
		all.passed, all.failed, all.skipped = all.passed+r.passed, all.failed+r.failed, all.skipped+r.skipped
		all.failures = append(all.failures, r.failures...)
	}
	fmt.Fprintf(stdout, "\n%d passed, %d failed, %d skipped\n", all.passed, all.failed, all.skipped)
	for _, f := range all.failures {
		fmt.Fprintf(stdout, "\n%s ended with:\n", f.test)
		for _, line := range f.words {
			fmt.Fprint(stdout, "    ", line)
		}
	}
	if len(all.failures) > 0 {
		fmt.Fprintln(stdout, "\nfailed:")
		for _, f := range all.failures {
			fmt.Fprintln(stdout, "   ", f.test)
		}
	}
	return errors.Join(faults...)
}
