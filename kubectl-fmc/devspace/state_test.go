package devspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStateKeepsADevspacePerCluster(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "config.json")
	s := NewState(path)
	for _, step := range []struct{ cluster, set string }{{"a", "one"}, {"b", "two"}, {"a", "three"}, {"b", ""}} {
		if err := s.SetCurrent(step.cluster, step.set); err != nil {
			t.Fatal(err)
		}
		if got, err := NewState(path).Current(step.cluster); err != nil || got != step.set {
			t.Errorf("Current(%q) = %q, %v, want %q", step.cluster, got, err, step.set)
		}
	}
	if got, _ := s.Current("a"); got != "three" {
		t.Errorf("Current(a) = %q, want three", got)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files = %v, %v, want one", left, err)
	}
}

func TestStateIsNotReadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewState(path).Current("a"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Current = %v, want an error that names the file", err)
	}
}
