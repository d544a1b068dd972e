package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// module is the tree's.
const module = "github.com/formicarium/formicarium"

// built are the programs of the tree that a run takes, by package.
var built = []string{"netra", "bench/netra/app", "bench/netra/client", "bench/netra/peers/splice", "bench/netra/peers/revproxy"}

// tree returns the module's directory.
func tree(ctx context.Context) (string, error) {
	out, err := command(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return "", fmt.Errorf("looking for the sources: %w; run it inside the repository", err)
	}
	return out, nil
}

// build builds all programs into dir, as `make build` does.
func build(ctx context.Context, tree, version, dir string) error {
	args := []string{"build", "-trimpath", "-ldflags", "-s -w -X " + module + "/internal/version.Version=" + version, "-o", dir + string(filepath.Separator)}
	for _, path := range built {
		args = append(args, "./"+path)
	}
	if _, err := command(ctx, tree, "go", args...); err != nil {
		return fmt.Errorf("building the programs: %w", err)
	}
	return nil
}

// command runs a command and returns what it printed, in one line.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", errors.Join(context.Cause(ctx), fmt.Errorf("running %s %s: %w\n%s", name, strings.Join(args, " "), err, out))
	}
	return strings.TrimSpace(string(out)), nil
}

// available splits the peers that were asked for into those that can run here,
// and lines about the others.
func available(asked []string) (here []peer, missing []string) {
	wanted := map[string]bool{}
	for _, name := range asked {
		wanted[name] = true
	}
	for _, p := range peers() {
		switch {
		case !wanted[p.name]:
		case p.program != "" && machineProgram(p.program) == "":
			missing = append(missing, fmt.Sprintf("%s is left out: the machine has no program %s; apt-get install %s adds it.", p.name, p.program, p.program))
		default:
			here = append(here, p)
		}
	}
	return here, missing
}
