package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeHasEveryVariable holds the tables of README.md against the package
// comments of both programs, which are where a variable is added first.
func TestReadmeHasEveryVariable(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]bool{}
	for _, m := range regexp.MustCompile("`([A-Z][A-Z0-9_]+)`").FindAllSubmatch(readme, -1) {
		table[string(m[1])] = true
	}
	comment := map[string]bool{}
	for _, file := range []string{"main.go", "netra-init/main.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(source), "\npackage main")
		for _, line := range strings.Split(text, "\n") {
			// A line of the list: a tab, the variables, then what they mean.
			for _, m := range regexp.MustCompile(`^//\t((?:[A-Z][A-Z0-9]*_[A-Z0-9_]+(?: \([^)]*\))?,? ?)+)`).FindAllStringSubmatch(line, -1) {
				for _, name := range regexp.MustCompile(`[A-Z][A-Z0-9]*_[A-Z0-9_]+`).FindAllString(m[1], -1) {
					comment[name] = true
				}
			}
		}
	}
	if len(comment) < 50 {
		t.Fatalf("only %d variables found in the package comments", len(comment))
	}
	for name := range comment {
		if !table[name] {
			t.Errorf("README.md lacks %s", name)
		}
	}
	// Said in prose in the comments.
	for _, name := range []string{"OTEL_SERVICE_NAME", "JAEGER_SERVICE_NAME", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		comment[name] = true
	}
	for name := range table {
		if !comment[name] {
			t.Errorf("README.md has %s, the package comments have not", name)
		}
	}
}
