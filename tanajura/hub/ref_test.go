package hub

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadRef(t *testing.T) {
	dir := t.TempDir()
	one, two := strings.Repeat("1", 40), strings.Repeat("2", 64)
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when, want string) {
		t.Helper()
		if got, err := readHead(dir); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", when, got, err, want)
		}
	}
	check("no ref", "")
	write("packed-refs", "# pack-refs with: peeled fully-peeled sorted\n"+two+" refs/heads/mainline\n"+one+" refs/heads/main\n^"+two+"\n")
	check("packed", one)
	write("refs/heads/main", two+"\n")
	check("loose over packed", two)
	write("refs/heads/main", "ref: refs/heads/other\n")
	if got, err := readHead(dir); err == nil {
		t.Errorf("a symbolic ref reads as %q, want an error", got)
	}
}
