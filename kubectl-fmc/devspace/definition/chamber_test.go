package definition

import (
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/formicarium/formicarium/internal/testutil"
	"github.com/formicarium/formicarium/kubectl-fmc/chamber"
)

// The objects of services with a chamber: one by the files of its directory,
// one with much of its own, and one of the user's.
func TestFurnishedObjects(t *testing.T) {
	d, err := Parse("chamber.yaml", "/home/ann/shop", readFile(t, "testdata/chamber.yaml"), Options{LookupEnv: env})
	if err != nil {
		t.Fatal(err)
	}
	python, err := chamber.Detect(fstest.MapFS{"requirements.txt": {}})
	if err != nil {
		t.Fatal(err)
	}
	node, err := chamber.Named("node-npm", nil)
	if err != nil {
		t.Fatal(err)
	}
	elixir, err := chamber.Parse("configmap/elixir", map[string]string{
		"image": "elixir:1.18", "start": "mix run --no-halt", "appPath": "/srv", "serviceCaches": "MIX_BUILD_PATH=build",
	})
	if err != nil {
		t.Fatal(err)
	}
	noEnv := func(string) string { return "" }
	for i, c := range []chamber.Chamber{python.Chamber(noEnv), node.Chamber(noEnv), elixir} {
		if s := d.Services[i]; !s.NeedsChamber() {
			t.Errorf("%s needs no chamber", s.Name)
		}
		for name := range c.Scripts { // what they say is package chamber's
			c.Scripts[name] = "# the chamber's " + name + "\n"
		}
		d.Services[i].Furnish(c)
	}
	testutil.Golden(t, "testdata/chamber.golden.yaml", rendered(t, d))
}

func TestChamberFaults(t *testing.T) {
	_, err := Parse("chamber-faults.yaml", "/home/ann/shop", readFile(t, "testdata/chamber-faults.yaml"), Options{LookupEnv: env})
	if err == nil {
		t.Fatal("no fault found")
	}
	testutil.Golden(t, "testdata/chamber-faults.golden.txt", []byte(err.Error()+"\n"))
}

// A service with an image and no chamber is left as it is.
func TestImageAloneNeedsNoChamber(t *testing.T) {
	d, err := parse(t, "services: {a: {path: ., image: x}, b: {image: y}, c: {path: .}}", "")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, false, true} {
		if s := d.Services[i]; s.NeedsChamber() != want {
			t.Errorf("%s: NeedsChamber() = %v, want %v", s.Name, !want, want)
		}
	}
}

// Which of the chamber's rules reach a service, beside what is its own.
func TestFurnishedRules(t *testing.T) {
	noEnv := func(string) string { return "" }
	for text, want := range map[string]string{
		"chamber: node-npm":                                  "build",
		"chamber: node-npm, restart: false":                  "build reload",
		"chamber: node-npm, restart: false, command: [node]": "build",
		"chamber: node-npm, restart: false, build: make":     "reload",
		"chamber: clojure-lein":                              "build reload",
		"chamber: clojure-lein, start: lein ring":            "build",
		"chamber: go": "",
		"chamber: python, reload: [{paths: x, do: nothing}]":  "nothing build",
		"chamber: clojure-lein, start: a, reloadScript: kick": "build reload",
	} {
		d, err := parse(t, "services: {a: {path: ., "+text+"}}", "")
		if err != nil {
			t.Fatal(err)
		}
		s := d.Services[0]
		found, err := chamber.Named(s.Chamber, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Furnish(found.Chamber(noEnv))
		var got []string
		for _, r := range s.Reload {
			got = append(got, r.Do)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: rules %v, want %s", text, got, want)
		}
	}
}

func TestShellQuoted(t *testing.T) {
	words := []string{"printf", "%s|", "a b", "it's", `$HOME "x" \`, ""}
	out, err := exec.Command("/bin/sh", "-c", shellQuoted(words)).Output()
	if err != nil || string(out) != `a b|it's|$HOME "x" \||` {
		t.Errorf("the shell read %q, %v", out, err)
	}
}
