package pull

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/stinger/gittest"
)

// fixture is a hub and a puller that pulls from it.
type fixture struct {
	*testing.T
	hub        *gittest.Hub
	p          *Puller
	app, state string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{T: t, hub: gittest.New(t), app: filepath.Join(dir, "app"), state: filepath.Join(dir, "state")}
	f.open()
	t.Cleanup(func() { f.p.Close() })
	return f
}

// open opens the puller as a new process would.
func (f *fixture) open() {
	f.Helper()
	if f.p != nil {
		f.p.Close()
	}
	var err error
	if f.p, err = Open(Options{URL: f.hub.URL, App: f.app, State: f.state}); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) pull(commit string) Result {
	f.Helper()
	r, err := f.p.Pull(context.Background(), commit)
	if err != nil {
		f.Fatalf("Pull(%q) = %v", commit, err)
	}
	return r
}

// local writes a file of the pod's own.
func (f *fixture) local(path, content string) {
	f.Helper()
	full := filepath.Join(f.app, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		f.Fatal(err)
	}
}

// wantTree compares all of the directory: lines "path mode content".
func (f *fixture) wantTree(want ...string) {
	f.Helper()
	got := list(f.T, f.app)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.Errorf("the directory is\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			lines = append(lines, rel+"/")
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			lines = append(lines, rel+" -> "+target)
		default:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			x := ""
			if info.Mode()&0o100 != 0 {
				x = "*"
			}
			lines = append(lines, rel+x+" "+string(content))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}
