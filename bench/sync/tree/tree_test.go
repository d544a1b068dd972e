package tree_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/formicarium/formicarium/bench/sync/tree"
)

func TestTree(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	for _, dir := range []string{one, two} {
		if _, err := tree.Make(dir, 123); err != nil {
			t.Fatal(err)
		}
		if n := tree.Count(dir); n != 123 {
			t.Errorf("%d files, want 123", n)
		}
	}
	if sum(t, one) != sum(t, two) {
		t.Error("two directories of the same size differ")
	}
	name := tree.Name(77)
	before := sum(t, one)
	text, err := tree.Edited(one, name, "x")
	if err != nil {
		t.Fatal(err)
	}
	want := tree.WantText(name, text)
	if want.Met(one) {
		t.Error("the edited content is there before it is written")
	}
	if err := os.WriteFile(filepath.Join(one, name), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if !want.Met(one) || sum(t, one) == before {
		t.Error("the edited content is not there")
	}
	gone := tree.Want{Path: name}
	if gone.Met(one) {
		t.Error("the file counts as gone")
	}
	if err := os.Remove(filepath.Join(one, name)); err != nil {
		t.Fatal(err)
	}
	if !gone.Met(one) {
		t.Error("the file does not count as gone")
	}
}

func sum(t *testing.T, dir string) string {
	t.Helper()
	text, err := tree.Sum(dir)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
