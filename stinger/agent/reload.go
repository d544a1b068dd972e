package agent

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/reload"
	"github.com/formicarium/formicarium/stinger/pull"
	"github.com/formicarium/formicarium/stinger/supervise"
)

// reloadLimit is that of a reload script: the process goes on meanwhile, and a
// developer waits.
const reloadLimit = 5 * time.Minute

// reload does what follows a pull that went well. What fails of it, and what
// would have come after that, stays due.
func (a *Agent) reload(ctx context.Context, request api.PullRequest, before pull.Applied, pulled pull.Result, result *api.PullResult) error {
	a.mu.Lock()
	a.pulled, a.pulledAt = true, time.Now()
	a.mu.Unlock()
	todo := a.due.And(a.decide(pulled))
	a.due = todo
	if err := a.rebuild(ctx, todo, before, pulled, result); err != nil {
		return err
	}
	if err := a.renew(ctx, request, todo, pulled.Commit != before.Commit, result); err != nil {
		return err
	}
	a.due = reload.Decision{}
	return nil
}

// decide returns what the pull's changes ask for.
func (a *Agent) decide(pulled pull.Result) reload.Decision {
	if pulled.Unknown {
		return a.opts.Rules.Everything(a.opts.StartAfterPull)
	}
	return a.opts.Rules.Decide(pulled.Paths, a.opts.StartAfterPull)
}

// rebuild builds, or takes the tree for built because nothing changed that a
// build is for since the one before, which is.
func (a *Agent) rebuild(ctx context.Context, todo reload.Decision, before pull.Applied, pulled pull.Result, result *api.PullResult) error {
	if !todo.Build && pulled.Tree != before.Tree && a.isBuilt(before.Tree) {
		return a.setBuilt(pulled.Tree)
	}
	spent, output, err := a.build(ctx, pulled.Tree)
	result.Timings.Build = millis(spent)
	if err != nil {
		result.Output = output
	}
	result.Built = err == nil && spent > 0
	return err
}

// renew has the process run the code that is here, as the request, the
// decision and its own state say.
func (a *Agent) renew(ctx context.Context, request api.PullRequest, todo reload.Decision, isNew bool, result *api.PullResult) (err error) {
	a.mu.Lock()
	byHand := a.byHand
	a.mu.Unlock()
	first := a.opts.Original.Runs()
	a.opts.Original.end() // from here on what ends is the code's
	group := a.opts.Group.Status()
	asked := request.Restart != nil && *request.Restart
	refused := request.Restart != nil && !*request.Restart
	begun := time.Now()
	switch {
	case first && group.Starts > 0 && !byHand, asked && group.Starts > 0, todo.Restart && !refused && group.PID != 0:
		err = a.restart(ctx)
		result.Restarted = err == nil
	case group.PID == 0 && (group.Starts == 0 || isNew) && !byHand, asked:
		a.setByHand(false)
		err = a.start(ctx)
		result.Restarted = err == nil
	case group.PID == 0 || refused || !todo.Reload && len(todo.Signals) == 0:
		return nil
	default:
		err = a.inPlace(ctx, todo, group.PID, result)
	}
	result.Timings.Restart = millis(time.Since(begun))
	return err
}

// inPlace tells the process, which goes on, of the new code. Where there is no
// script to do it with, a restart does it.
func (a *Agent) inPlace(ctx context.Context, todo reload.Decision, pid int, result *api.PullResult) error {
	if todo.Reload {
		argv, err := a.opts.Scripts.Find(supervise.ScriptReload)
		if err == nil && argv == nil {
			a.opts.Log.Warn("a rule says reload and there is no reload script: restarting")
			err = a.restart(ctx)
			result.Restarted = err == nil
			return err
		}
		if err == nil {
			task := a.task(argv, reloadLimit)
			task.Env = []string{api.EnvReloadPID + "=" + strconv.Itoa(pid)}
			result.Output, err = task.Run(ctx)
		}
		if err != nil {
			err = fmt.Errorf("reloading: %w", err)
		}
		a.note(faultReload, err)
		if err != nil {
			return err
		}
		result.Output, result.Reloaded = "", true
	}
	for _, signal := range todo.Signals {
		a.opts.Group.SignalNamed(signal)
	}
	result.Signals = todo.Signals
	return nil
}
