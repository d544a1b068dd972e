package main

import (
	"bytes"
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
