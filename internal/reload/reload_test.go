package reload

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// patterns and paths are compared in all pairs, with git as the referee.
var (
	patterns = []string{
		"*.css", "templates/**", "/templates/**", "templates", "templates/", "conf/*.yaml", "**/*.clj", "src/**/x", "/top", "a?c", "[a-c]x", "[!a-c]x", "a[!b]c",
		"[]x]y", `\*`, `\!bang`, "a/**/b/**/c", "**", "*", "dir/sub", "dir/sub/", "requirements.txt", "**/deep", "foo*bar*", "[a-]z", "sp ace", "ü*",
	}
	paths = []string{
		"x.css", "a/b/x.css", "x.css/inner", "templates/a.html", "templates/a/b", "templates2/a", "in/templates/a", "conf/a.yaml", "conf/a/b.yaml", "x/conf/a.yaml",
		"core.clj", "src/core.clj", "src/x", "src/a/b/x", "src/a/b/x/y", "top", "a/top", "abc", "a/c", "ax", "dx", "]y", "xy", "*", "!bang",
		"a/b/c", "a/1/b/2/c/d", "dir/sub", "dir/sub/f", "requirements.txt", "sub/requirements.txt", "deep", "q/deep/r", "fooXbarY", "az", "-z", "sp ace", "über", "ab/c",
	}
)

func TestPatternsAreGits(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) (string, error) {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "core.excludesFile=/dev/null"}, args...)...)
		cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00"))
		out, err := cmd.Output()
		return string(out), err
	}
	if _, err := git("init", "-q"); err != nil {
		t.Fatal(err)
	}
	matches := 0
	for _, text := range patterns {
		p, err := compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		// 1 is that nothing is ignored.
		out, err := git("check-ignore", "--no-index", "--stdin", "-z")
		if err != nil && out != "" {
			t.Fatal(err)
		}
		ignored := map[string]bool{}
		for path := range strings.SplitSeq(out, "\x00") {
			ignored[path] = true
		}
		for _, path := range paths {
			if p.match(path) != ignored[path] {
				t.Errorf("%q matches %q: %t, with git %t", text, path, p.match(path), ignored[path])
			}
			if ignored[path] {
				matches++
			}
		}
	}
	if matches < 50 {
		t.Errorf("git found %d matches only: nothing is compared", matches)
	}
}

func TestDecide(t *testing.T) {
	const rules = `[
		{"paths": ["requirements.txt", "/Makefile"], "do": "build"},
		{"paths": ["static/keep.css"], "do": "restart"},
		{"paths": ["static/**", "*.css"], "do": "nothing"},
		{"paths": ["conf/*.yaml"], "do": "signal", "signal": "sighup"},
		{"paths": ["conf/*.json"], "do": "signal", "signal": "USR1"},
		{"paths": ["*.clj"], "do": "reload"}
	]`
	r, err := Parse(rules)
	if err != nil {
		t.Fatal(err)
	}
	none := Rules{}
	restartsOnly, err := Parse(`[{"paths": ["x"], "do": "restart"}]`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rules   Rules
		changed string
		restart bool
		want    Decision
	}{
		{none, "", true, Decision{}},
		{none, "a", true, Decision{Build: true, Restart: true}},
		{none, "a", false, Decision{Build: true}},
		{restartsOnly, "a", false, Decision{Build: true}}, // no rule has the build
		{restartsOnly, "x", false, Decision{Restart: true}},
		{r, "", true, Decision{}},
		{r, "app.py", true, Decision{Restart: true}}, // the build has its paths
		{r, "app.py", false, Decision{}},
		{r, "requirements.txt", false, Decision{Build: true, Restart: true}},
		{r, "sub/Makefile", true, Decision{Restart: true}},
		{r, ".fmc/build", false, Decision{Build: true}},
		{r, "static/a static/b/c x/y.css", true, Decision{}},
		{r, "static/keep.css", false, Decision{Restart: true}}, // the first rule
		{r, "conf/a.yaml conf/b.yaml", true, Decision{Signals: []string{"HUP"}}},
		{r, "conf/a.json core.clj conf/a.yaml static/a", true, Decision{Reload: true, Signals: []string{"USR1", "HUP"}}},
		{r, "core.clj conf/a.yaml app.py", true, Decision{Restart: true}},
		{r, "core.clj conf/a.yaml app.py", false, Decision{Reload: true, Signals: []string{"HUP"}}},
		{r, "core.clj requirements.txt", true, Decision{Build: true, Restart: true}},
	} {
		if got := c.rules.Decide(strings.Fields(c.changed), c.restart); !reflect.DeepEqual(got, c.want) {
			t.Errorf("Decide(%q, %t) = %+v, want %+v", c.changed, c.restart, got, c.want)
		}
	}
	if got := (Decision{Signals: []string{"HUP"}}).And(Decision{Reload: true, Signals: []string{"HUP"}}); !reflect.DeepEqual(got, Decision{Reload: true, Signals: []string{"HUP"}}) {
		t.Errorf("And = %+v", got)
	}
}

func TestEveryFaultIsNamed(t *testing.T) {
	_, err := Parse(`[
		{"paths": [], "do": "build"},
		{"paths": ["", "!x", "a/../b", "[a", "x\\", "/", "` + strings.Repeat("x", 600) + `"], "do": "biuld"},
		{"paths": ["*"], "do": "signal", "signal": "KILL"},
		{"paths": ["*"], "do": "nothing", "signal": "HUP"},
		{"pahts": ["*"], "do": "nothing"},
		"x"
	]`)
	if err == nil {
		t.Fatal("Parse = nil")
	}
	for _, want := range []string{"rule 1: paths: want", "rule 2: paths: a pattern is empty", `"!x"`, `no name ".."`, "a [ has no ]", `behind the last \`, "600 bytes",
		`want one of build, restart, reload, signal, nothing, not "biuld"`, `rule 3: signal: want one of HUP`, `not "KILL"`, "rule 4: signal: has no effect", `rule 5: json: unknown field "pahts"`, "rule 6: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error has no %s:\n%v", want, err)
		}
	}
	for _, text := range []string{"x", "{}", `[` + strings.Repeat(" ", maxText) + `]`, `[{"paths":["` + strings.Repeat(`x","`, MaxPatterns) + `x"],"do":"build"}]`} {
		if _, err := Parse(text); err == nil {
			t.Errorf("Parse(%.40q) = nil", text)
		}
	}
	if r, err := Parse(" \n"); err != nil || r.Any() {
		t.Errorf("Parse of nothing = %+v, %v", r, err)
	}
	text, err := Text([]Rule{{Paths: []string{"a"}, Do: Signal, Signal: "HUP"}})
	if err != nil || text != `[{"paths":["a"],"do":"signal","signal":"HUP"}]` {
		t.Errorf("Text = %s, %v", text, err)
	}
}

// FuzzParse wants no rules that were taken to panic, or to ask for what does not
// go together.
func FuzzParse(f *testing.F) {
	f.Add(`[{"paths":["**/a[!b-c]?*","\\x/"],"do":"signal","signal":"hup"}]`, "d/a1")
	f.Add(`[{"paths":["[z-a]","[[:alpha:]]"],"do":"build"}]`, "z")
	f.Add(`[{"paths":["a","b"],"do":"reload"},{"paths":["*"],"do":"nothing"}]`, "b\xff\n")
	f.Fuzz(func(t *testing.T, text, path string) {
		r, err := Parse(text)
		if err != nil {
			if r.Any() {
				t.Error("rules at fault are kept")
			}
			return
		}
		d := r.Decide([]string{path}, true)
		if d.Restart && (d.Reload || len(d.Signals) > 0) || d.Build && !d.Restart {
			t.Errorf("Decide(%q) = %+v", path, d)
		}
	})
}
