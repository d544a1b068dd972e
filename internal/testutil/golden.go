// Package testutil holds what the tests of several packages share.
package testutil

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// Golden fails the test where got differs from the file at path; with -update
// it writes the file.
func Golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("reading golden file (write it with -update): %v", err)
	}
	if string(want) != string(got) {
		t.Errorf("differs from %s (accept with -update)\n--- want\n%s\n--- got\n%s", path, want, got)
	}
}
