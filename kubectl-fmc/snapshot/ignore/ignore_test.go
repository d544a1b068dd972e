package ignore_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/ignore"
)

// TestOwnRules: .fmcignore goes before git's rules.
func TestOwnRules(t *testing.T) {
	isolate(t)
	for name, test := range map[string]struct {
		rules map[string]string
		files string
		want  string
	}{
		"ignores what git does not": {
			rules: map[string]string{".fmcignore": "docs/\n*.md"},
			files: "a.py docs/b b.md sub/c.md sub/docs/d", want: ".fmcignore a.py",
		},
		"brings a file back": {
			rules: map[string]string{".gitignore": ".env", ".fmcignore": "!.env"},
			files: ".env sub/.env a", want: ".env .fmcignore .gitignore a sub/.env",
		},
		"anchored": {
			rules: map[string]string{".gitignore": ".env", ".fmcignore": "!/.env"},
			files: ".env sub/.env a", want: ".env .fmcignore .gitignore a",
		},
		"brings back below an ignored directory": {
			rules: map[string]string{".gitignore": "gen/", ".fmcignore": "!gen/api/*.go"},
			files: "gen/api/a.go gen/api/a.txt gen/b.go gen/api/deep/c.go", want: ".fmcignore .gitignore gen/api/a.go",
		},
		"a name brings back at any depth": {
			rules: map[string]string{".gitignore": "gen/", ".fmcignore": "!keep.go"},
			files: "gen/keep.go gen/x/y/keep.go gen/b.go", want: ".fmcignore .gitignore gen/keep.go gen/x/y/keep.go",
		},
		"a directory comes back whole": {
			rules: map[string]string{".gitignore": "node_modules/\ndist\n", ".fmcignore": "!/node_modules/"},
			files: "node_modules/a/dist/x node_modules/b dist/y", want: ".fmcignore .gitignore node_modules/a/dist/x node_modules/b",
		},
		"but for what is ignored again": {
			rules: map[string]string{".gitignore": "lib/", ".fmcignore": "!lib/\n*.map\n"},
			files: "lib/a.js lib/a.js.map", want: ".fmcignore .gitignore lib/a.js",
		},
		"back below what .fmcignore ignores": {
			rules: map[string]string{".fmcignore": "data/\n!data/seed.sql\n"},
			files: "data/seed.sql data/big.bin", want: ".fmcignore data/seed.sql",
		},
		"the deepest file wins": {
			rules: map[string]string{".fmcignore": "*.txt", "sub/.fmcignore": "!*.txt"},
			files: "a.txt sub/b.txt sub/deep/c.txt", want: ".fmcignore sub/.fmcignore sub/b.txt sub/deep/c.txt",
		},
		"no own rules below what nothing leads to": {
			rules: map[string]string{".gitignore": "out/", "out/.fmcignore": "!x"},
			files: "out/x", want: ".gitignore",
		},
		"never .git": {
			rules: map[string]string{".fmcignore": "!.git\n!.git/**\n"},
			files: ".git/config sub/.git/config a", want: ".fmcignore a",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for path, text := range test.rules {
				write(t, filepath.Join(dir, path), text)
			}
			for path := range strings.FieldsSeq(test.files) {
				write(t, filepath.Join(dir, path), "")
			}
			want := strings.Fields(test.want)
			slices.Sort(want)
			if got := ourFiles(t, dir); !slices.Equal(want, got) {
				t.Errorf("files (- missing, + too many):\n%s", diff(want, got))
			}
		})
	}
}

// TestNamedDirectory: the directory that the user names counts, though a rule
// above it says otherwise.
func TestNamedDirectory(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	write(t, filepath.Join(dir, ".gitignore"), "/out/\n")
	write(t, filepath.Join(dir, ".fmcignore"), "/out/\n*.map\n")
	write(t, filepath.Join(dir, "out/a.js"), "")
	write(t, filepath.Join(dir, "out/a.js.map"), "")
	if want, got := []string{"a.js"}, ourFiles(t, filepath.Join(dir, "out")); !slices.Equal(want, got) {
		t.Errorf("files (- missing, + too many):\n%s", diff(want, got))
	}
}

func TestNever(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	rules, err := ignore.Load(dir, ignore.Options{Never: []string{filepath.Join(dir, "cache")}})
	if err != nil {
		t.Fatal(err)
	}
	if v := rules.Match("cache", true); v != ignore.Ignore {
		t.Errorf("Match(cache) = %v, want Ignore", v)
	}
	if v := rules.Match("cached", true); v != ignore.Include {
		t.Errorf("Match(cached) = %v, want Include", v)
	}
}
