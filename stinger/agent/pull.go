package agent

import (
	"context"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// pullCall is one pull and the requests that it answers.
type pullCall struct {
	request api.PullRequest // the newest
	done    chan struct{}
	result  api.PullResult
}

// Pull pulls, builds and restarts as the request and the settings say. It
// always has a result: what went wrong is in it. The operation goes on when
// only the asker has gone; ctx is what ends it.
func (a *Agent) Pull(ctx context.Context, request api.PullRequest) api.PullResult {
	result := a.enqueue(ctx, request)
	if result.Error != "" && !result.Superseded {
		a.opts.Log.Error("pull failed", "commit", short(request.Commit), "error", result.Error)
	}
	return result
}

func (a *Agent) enqueue(ctx context.Context, request api.PullRequest) api.PullResult {
	a.mu.Lock()
	call := a.queued
	if call == nil {
		call = &pullCall{request: request, done: make(chan struct{})}
		a.queued = call
		go a.serve(ctx, call)
	} else {
		if request.Restart == nil {
			request.Restart = call.request.Restart // a wish that nobody took back
		}
		call.request = request
	}
	a.mu.Unlock()
	<-call.done
	result := call.result
	// The first is no matter where the newer request was for the tip, and that is
	// the same; the second: the hub had a newer one only.
	result.Superseded = request.Commit != call.request.Commit && request.Commit != result.Commit ||
		request.Commit != "" && result.Error == "" && result.Commit != request.Commit
	return result
}

// serve carries out a call when its turn has come.
func (a *Agent) serve(ctx context.Context, call *pullCall) {
	defer close(call.done)
	err := a.take(ctx)
	a.mu.Lock()
	a.queued = nil // from here on it cannot be replaced
	a.mu.Unlock()
	if err != nil {
		call.result = api.PullResult{Error: err.Error()}
		return
	}
	defer a.release()
	call.result = a.pull(ctx, call.request)
}

// pull has the turn.
func (a *Agent) pull(ctx context.Context, request api.PullRequest) (result api.PullResult) {
	before := a.opts.Puller.Applied()
	pulled, err := a.opts.Puller.Pull(ctx, request.Commit)
	result = api.PullResult{
		Commit: pulled.Commit, Tree: pulled.Tree, Changed: pulled.Changed,
		Timings: api.Timings{Fetch: millis(pulled.Fetch), Apply: millis(pulled.Apply)},
	}
	a.note(faultPull, err)
	if err == nil {
		err = a.reload(ctx, request, before, pulled, &result)
	}
	result.PID = a.opts.Group.Status().PID
	if err != nil {
		result.Error = err.Error()
		return result
	}
	a.opts.Log.Info("pulled", "commit", short(result.Commit), "changed", result.Changed, "restarted", result.Restarted, "reloaded", result.Reloaded, "signals", result.Signals,
		"fetch", pulled.Fetch, "apply", pulled.Apply)
	return result
}

// millis returns the duration in milliseconds, to the microsecond.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func short(commit string) string { return commit[:min(7, len(commit))] }
