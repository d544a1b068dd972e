package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const good = `{"Action":"pass","Package":"a","Test":"TestA","Elapsed":1}
{"Action":"skip","Package":"a","Test":"TestB"}
{"Action":"pass","Package":"a","Elapsed":1.5}
`
	const bad = `{"Action":"fail","Package":"a","Test":"TestA"}
{"Action":"fail","Package":"a","Elapsed":1}
{"Action":"fail","Package":"does-not-build"}
`
	for _, c := range []struct {
		name, results, want, err string
	}{
		{"good", good, "1 passed, 0 failed, 1 skipped", ""},
		{"bad", bad, "0 passed, 2 failed, 0 skipped", "part: 2 failed"},
		{"empty", "", "0 passed, 0 failed, 0 skipped", "part: no test ran"},
		{"cut", `{"Action":`, "0 passed", "reading results in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "part.json"), []byte(c.results), 0o644); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err := summary(t.Context(), []string{dir, "part"}, nil, &out, nil)
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("summary lacks %q:\n%s", c.want, out.String())
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("summary = %v, want %q", err, c.err)
			}
		})
	}
	if err := summary(t.Context(), []string{t.TempDir(), "missing"}, nil, &bytes.Buffer{}, nil); err == nil {
		t.Error("a part without results is no failure")
	}
}

// TestSummaryNamesWhatFailed: of a test with subtests only the one that failed by
// itself is named, with the end of what it said.
func TestSummaryNamesWhatFailed(t *testing.T) {
	results := &strings.Builder{}
	for i := range 100 {
		fmt.Fprintf(results, `{"Action":"output","Package":"e2e","Test":"TestSystem/Lost/Disk","Output":"line %d\n"}`+"\n", i)
	}
	results.WriteString(`{"Action":"output","Package":"e2e","Test":"TestSystem/Lost/Good","Output":"all is well\n"}
{"Action":"pass","Package":"e2e","Test":"TestSystem/Lost/Good"}
{"Action":"fail","Package":"e2e","Test":"TestSystem/Lost/Disk"}
{"Action":"fail","Package":"e2e","Test":"TestSystem/Lost"}
{"Action":"output","Package":"e2e","Test":"TestSystem","Output":"what the cluster says\n"}
{"Action":"fail","Package":"e2e","Test":"TestSystem"}
{"Action":"fail","Package":"e2e"}
{"Action":"output","Package":"cut","Output":"cannot find package\n"}
{"Action":"fail","Package":"cut"}`)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "part.json"), []byte(results.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := summary(t.Context(), []string{dir, "part"}, nil, &out, nil); err == nil || err.Error() != "part: 4 failed" {
		t.Errorf("summary = %v, want 4 failed", err)
	}
	if !strings.HasSuffix(out.String(), "\nfailed:\n    e2e TestSystem/Lost/Disk\n    cut\n") {
		t.Errorf("the names are not last, or not these:\n%s", out.String())
	}
	for word, shown := range map[string]bool{"line 99": true, "line 75": true, "line 74": false, "all is well": false, "what the cluster says": false, "cannot find package": true} {
		if strings.Contains(out.String(), "    "+word+"\n") != shown {
			t.Errorf("%q shown: %v, want %v", word, !shown, shown)
		}
	}
}
