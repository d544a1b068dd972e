package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/stinger/supervise"
)

// DefaultBuildTimeout is three times as long as first builds that fetch all of a
// large project's dependencies: it ends one that hangs.
const DefaultBuildTimeout = time.Hour

// build builds the tree, unless that is done, and returns how long it took (0
// where nothing was built) and the last lines of what failed.
func (a *Agent) build(ctx context.Context, tree string) (spent time.Duration, output string, err error) {
	defer func() { a.note(faultBuild, err) }()
	argv, err := a.opts.Scripts.Find(supervise.ScriptBuild)
	if err != nil || argv == nil || a.isBuilt(tree) {
		return 0, "", err
	}
	start := time.Now()
	a.forgetBuilt() // from here on the outputs are of neither tree
	a.setBuilding(true)
	defer a.setBuilding(false)
	output, err = a.task(argv, a.opts.BuildTimeout).Run(ctx)
	if tooLong := (*supervise.LimitError)(nil); errors.As(err, &tooLong) {
		err = fmt.Errorf("%w, the most that a build may take: if it needs more, set the annotation %s (%s where Stinger runs by itself) to a longer time",
			err, api.AnnotationBuildTimeout, api.EnvStingerBuildTimeout)
	}
	if spent = time.Since(start); err != nil {
		return spent, output, fmt.Errorf("building: %w", err)
	}
	return spent, "", a.setBuilt(tree)
}

func (a *Agent) task(argv []string, limit time.Duration) supervise.Task {
	return supervise.Task{Argv: argv, Dir: a.opts.Scripts.App, Stdout: a.opts.Stdout, Stderr: a.opts.Stderr, Limit: limit}
}

// The record of what was built is a file with the tree's id, so that a
// restarted container does not build what it has.
func (a *Agent) builtPath() string { return filepath.Join(a.opts.State, "built") }

func (a *Agent) isBuilt(tree string) bool {
	data, err := os.ReadFile(a.builtPath())
	return err == nil && strings.TrimSpace(string(data)) == tree
}

func (a *Agent) setBuilt(tree string) error {
	if err := os.WriteFile(a.builtPath(), []byte(tree+"\n"), 0o600); err != nil {
		return fmt.Errorf("recording the build: %w", err)
	}
	return nil
}

func (a *Agent) forgetBuilt() { _ = os.Remove(a.builtPath()) }

func (a *Agent) setBuilding(v bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.building = v
}
