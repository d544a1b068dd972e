package pull

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/stinger/gittest"
)

// TestHostileTreesAreRefusedWhole pushes trees that git's own tools would not
// make. Nothing of them may be written, inside or outside the directory.
func TestHostileTreesAreRefusedWhole(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("good", "1", 0o644)
	f.hub.Commit()
	f.pull("")
	h := f.hub
	blob := h.Blob("evil")
	file := func(name string) gittest.Entry { return gittest.Entry{Mode: "100644", Name: name, ID: blob} }
	dir := func(name string, entries ...gittest.Entry) gittest.Entry {
		return gittest.Entry{Mode: "40000", Name: name, ID: h.Tree(entries...)}
	}
	link := func(name, target string) gittest.Entry {
		return gittest.Entry{Mode: "120000", Name: name, ID: h.Blob(target)}
	}
	for name, c := range map[string]struct {
		entry gittest.Entry
		want  string
	}{
		"dot dot":              {file(".."), `".."`},
		"dot dot directory":    {dir("..", file("x")), `".."`},
		"dot":                  {dir(".", file("x")), `"."`},
		"slash":                {file("a/../../x"), "slash"},
		"absolute":             {file("/etc/x"), "slash"},
		"git":                  {dir(".git", file("config")), `".git"`},
		"git below":            {dir("sub", dir(".GiT", file("config"))), `".GiT"`},
		"git short name":       {dir("GIT~1", file("config")), "git's own"},
		"git trailing dot":     {dir(".git. ", file("config")), "git's own"},
		"git stream":           {dir(".git::$INDEX_ALLOCATION", file("config")), "git's own"},
		"git hfs":              {dir(".g\u200cit", file("config")), "git's own"},
		"own prefix":           {file(".stinger-tmp-x"), ".stinger-tmp-"},
		"absolute link":        {link("l", "/etc/passwd"), `link "l": its target "/etc/passwd" is absolute`},
		"climbing link":        {dir("sub", link("l", "../../x")), `link "sub/l"`},
		"link past a link":     {dir("a", link("up", ".."), link("l", "up/../x")), ".. behind a name"},
		"empty link":           {link("l", ""), "empty"},
		"link with zero":       {link("l", "a\x00b"), "zero byte"},
		"unknown mode":         {gittest.Entry{Mode: "10644", Name: "x", ID: blob}, "unknown mode"},
		"name too long":        {file(strings.Repeat("n", 256)), "256 bytes"},
		"a file that is a dir": {gittest.Entry{Mode: "40000", Name: "x", ID: blob}, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			commit := h.CommitTree(h.Tree(file("before"), c.entry, file("zz after")))
			_, err := f.p.Pull(context.Background(), commit)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Pull = %v, want an error with %s", err, c.want)
			}
			f.T = t
			f.wantTree("good 1")
			if got := list(t, filepath.Dir(f.app)); strings.Contains(strings.Join(got, "\n"), "evil") {
				t.Errorf("something was written outside: %v", got)
			}
		})
	}
	f.T = t
	// A duplicate: what is checked must be what is written.
	twice := h.CommitTree(h.Tree(link("a", "b"), dir("a", file("x"))))
	if _, err := f.p.Pull(context.Background(), twice); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("Pull = %v, want an error with twice", err)
	}
	// The next good commit is as if nothing had been.
	h.Write("good", "2", 0o644)
	f.pull(h.Commit())
	f.wantTree("good 2")
}

// TestTreeThatGitDoesNotSend has a name that is empty: the hub breaks off
// within the pack.
func TestTreeThatGitDoesNotSend(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("good", "1", 0o644)
	f.hub.Commit()
	f.pull("")
	commit := f.hub.CommitTree(f.hub.Tree(gittest.Entry{Mode: "100644", Name: "", ID: f.hub.Blob("evil")}))
	if _, err := f.p.Pull(context.Background(), commit); err == nil {
		t.Error("Pull = nil")
	}
	f.wantTree("good 1")
}

// TestTreeThatNamesItselfManyTimes would have 10^9 files.
func TestTreeThatNamesItselfManyTimes(t *testing.T) {
	f := newFixture(t)
	id, mode := f.hub.Blob("x"), "100644"
	for range 9 {
		var entries []gittest.Entry
		for n := range 10 {
			entries = append(entries, gittest.Entry{Mode: mode, Name: string(rune('a' + n)), ID: id})
		}
		id, mode = f.hub.Tree(entries...), "40000"
	}
	_, err := f.p.Pull(context.Background(), f.hub.CommitTree(id))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("more than %d paths", maxPaths)) {
		t.Errorf("Pull = %v, want it refused for its number of paths", err)
	}
	f.wantTree()
}
