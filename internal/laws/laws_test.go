// Package laws holds the rules on who imports whom as a test; .golangci.yml
// says the direct ones a second time, for the editor.
package laws

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/formicarium/formicarium/"

// programs are the top-level folders that hold one. Packages of one may not
// import another's.
var programs = []string{"kubectl-fmc", "webhook", "stinger", "tanajura", "netra"}

// lent lists what a program may import of another.
var lent = map[string][]string{
	"kubectl-fmc": {"webhook/inject", "manifests"},
}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

func TestImportLaw(t *testing.T) {
	packages := list(t)
	var checked int
	for _, p := range packages {
		here, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue
		}
		checked++
		for _, fault := range faults(here, p) {
			t.Errorf("%s imports %s", here, fault)
		}
	}
	if checked < 10 {
		t.Fatalf("only %d packages were checked", checked)
	}
}

// TestLawFindsFaults proves that the law can fail.
func TestLawFindsFaults(t *testing.T) {
	for _, c := range []struct {
		here string
		p    pkg
	}{
		{"internal/api", pkg{Imports: []string{"golang.org/x/sys/unix"}}},
		{"internal/env", pkg{Imports: []string{module + "netra/proxy"}}},
		{"stinger/pull", pkg{Imports: []string{module + "tanajura/hub"}}},
		{"webhook/inject", pkg{Imports: []string{"github.com/gin-gonic/gin"}}},
		{"kubectl-fmc/cmd", pkg{Imports: []string{module + "webhook/server"}}},
		{"netra/trace", pkg{Deps: []string{"k8s.io/apimachinery/pkg/types"}}},
	} {
		if len(faults(c.here, c.p)) != 1 {
			t.Errorf("the law has no fault for %s importing %v%v", c.here, c.p.Imports, c.p.Deps)
		}
	}
	if found := faults("kubectl-fmc/cmd", pkg{Imports: []string{module + "webhook/inject", module + "internal/api"}}); found != nil {
		t.Errorf("the law refuses %v, which is allowed", found)
	}
}

// faults returns what the package at here, a path below the module's root,
// imports against the law.
func faults(here string, p pkg) []string {
	var found []string
	for _, path := range p.Imports {
		there, ours := strings.CutPrefix(path, module)
		switch {
		case here == "internal/api" && strings.Contains(path, "."):
			found = append(found, path+": internal/api is linked into every program and has the standard library only")
		case ours && strings.HasPrefix(here, "internal/") && !strings.HasPrefix(there, "internal/"):
			found = append(found, there+": internal packages import no program")
		case ours && foreign(here, there):
			found = append(found, there+": no program imports another")
		case path == "github.com/gin-gonic/gin" && here != "webhook/server" && here != "tanajura/server":
			found = append(found, path+": gin stays in the server packages of webhook and tanajura")
		}
	}
	if owner(here) == "stinger" || owner(here) == "netra" {
		if i := slices.IndexFunc(p.Deps, func(d string) bool { return strings.HasPrefix(d, "k8s.io/") }); i >= 0 {
			found = append(found, p.Deps[i]+": what is copied into every pod does without k8s.io")
		}
	}
	return found
}

func foreign(here, there string) bool {
	if !slices.Contains(programs, owner(here)) || owner(there) == owner(here) {
		return false
	}
	if slices.Contains(programs, owner(there)) || owner(there) == "manifests" {
		return !slices.Contains(lent[owner(here)], there)
	}
	return false
}

func owner(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

// list asks the go command for every package of the module, tests left out.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,Standard", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("listing packages: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []pkg
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
