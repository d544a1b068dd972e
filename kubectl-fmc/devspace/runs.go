package devspace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	corev1 "k8s.io/api/core/v1"
)

// A Stinger applies a commit before it builds it and restarts the process, so
// the commit that it names is not yet what runs. This file judges what does.

// check makes sure that containers run a commit.
type check struct {
	client *Client
	// commit is what has to run; empty means whatever is there.
	commit string
	// How long a container may be behind the commit, have an error, or have a
	// process that ends by itself. While it builds or restarts it is waited
	// for as long as the context lasts.
	behind, failed, crashed time.Duration
	// outcomes of the push that brought the commit: an error that is known
	// from them is final.
	outcomes []api.Outcome
}

// behindPatience is as long as a pull may take that the hub was not asked for
// by this push: another's, or the first of a container that has just started.
const behindPatience = 10 * time.Second

// checkNow is for containers that have had their time already.
func (c *Client) checkNow(commit string) check {
	return check{client: c, commit: commit, behind: behindPatience}
}

// checkDeploy is for containers that are new, beside others that are.
func (c *Client) checkDeploy(commit string, outcomes []api.Outcome) check {
	return check{client: c, commit: commit, behind: behindPatience, failed: shortPatience, crashed: longPatience, outcomes: outcomes}
}

// runs is true where what the status tells is the commit at work.
func runs(status api.StingerStatus, commit string) bool {
	return status.Commit == commit && status.LastError == "" && status.State == api.StateRunning
}

// settled waits until each of the containers runs the commit and no process
// ends soon after its start, as one that cannot work mostly does. It tells of
// all that do not.
func (k check) settled(ctx context.Context, containers []stinger) error {
	faults := make([]error, len(containers))
	sideBySide(len(containers), func(i int) {
		for began := time.Now(); ; {
			if faults[i] = k.one(ctx, containers[i]); faults[i] != nil {
				return
			}
			p := k.endsSoon(ctx, containers[i])
			switch {
			case errors.Is(ctx.Err(), context.Canceled):
				faults[i] = ctx.Err()
				return
			case p == nil:
				return
			case time.Since(began) >= p.patience:
				faults[i] = k.error(containers[i], p)
				return
			}
		}
	})
	return errors.Join(faults...)
}

// one waits until a container runs the commit.
func (k check) one(ctx context.Context, s stinger) error {
	var since time.Time // when it began to be wrong
	var last *problem
	for {
		status, err := k.client.stingerStatus(ctx, s)
		if ctx.Err() == nil {
			last = k.problem(ctx, s, status, err)
		}
		switch {
		case last == nil && ctx.Err() == nil:
			return nil
		case last != nil && last.patience == endlessPatience:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		if last != nil && !since.IsZero() && time.Since(since) >= last.patience {
			return k.error(s, last)
		}
		select {
		case <-ctx.Done():
			if last == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			return fmt.Errorf("waiting too long (--timeout): %w", k.error(s, last))
		case <-time.After(k.client.Poll):
		}
	}
}

func (k check) error(s stinger, p *problem) error {
	text := p.text
	if p.detail != "" {
		text += "\n" + indent(indent(p.detail))
	}
	return fmt.Errorf("%s/%s: %s", s.pod.Name, s.endpoint.Container, text)
}

// problem tells why a container does not run the commit; nil where it does.
func (k check) problem(ctx context.Context, s stinger, status api.StingerStatus, err error) *problem {
	commit := orElse(k.commit, status.Commit)
	switch {
	case err != nil:
		return &problem{text: err.Error(), patience: k.behind}
	case runs(status, commit):
		return nil
	case status.State == api.StateBuilding || status.State == api.StateStopping:
		return &problem{text: fmt.Sprintf("is %s, and does not run %s yet", status.State, short(commit)), patience: endlessPatience}
	case status.Commit != commit:
		text := fmt.Sprintf("has %s and not %s (%s)", orElse(short(status.Commit), "nothing"), short(commit), status.State)
		return &problem{text: joinReason(text, status.LastError), patience: k.behind}
	case status.State == api.StateBackoff:
		return k.ended(ctx, s, status)
	case status.LastError != "":
		p := &problem{text: fmt.Sprintf("does not run %s: %s", short(commit), status.LastError), patience: k.failed}
		if slices.ContainsFunc(k.outcomes, func(o api.Outcome) bool {
			return o.Pod == s.pod.Name && o.Container == s.endpoint.Container && o.Result.Error != ""
		}) {
			p.patience = 0
		}
		return p
	}
	// The process is being exchanged, or somebody stopped it.
	return &problem{text: fmt.Sprintf("is %s, and does not run %s", status.State, short(commit)), patience: k.behind}
}

func joinReason(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + ": " + reason
}

func (k check) ended(ctx context.Context, s stinger, status api.StingerStatus) *problem {
	return &problem{
		text:     fmt.Sprintf("the process ended by itself (%s)", orElse(status.LastExit, status.LastError, "no reason given")),
		detail:   k.client.lastLog(ctx, s.pod, s.endpoint.Container, false),
		patience: k.crashed,
	}
}

// DefaultSettle is after how long a started process is looked at again: one
// that cannot work mostly ends within this time.
const DefaultSettle = 1500 * time.Millisecond

// endsSoon waits for a moment and tells of a process that ended by itself
// meanwhile, whether it was started again or not. A container that cannot be
// asked has been replaced.
func (k check) endsSoon(ctx context.Context, s stinger) *problem {
	before, err := k.client.stingerStatus(ctx, s)
	if err != nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(k.client.Settle):
	}
	after, err := k.client.stingerStatus(ctx, s)
	if err != nil || after.Commit != before.Commit || after.Crashes == before.Crashes && after.State != api.StateBackoff {
		return nil
	}
	return k.ended(ctx, s, after)
}

// runningStingers returns those of the pods whose containers run. The others
// get their code when they start.
func runningStingers(pods []corev1.Pod) []stinger {
	var found []stinger
	for i := range pods {
		if pods[i].Status.Phase == corev1.PodRunning {
			found = append(found, stingers(&pods[i])...)
		}
	}
	return found
}

// manyPods bounds how many pods are asked at once; each is a connection of its
// own to the API server.
const manyPods = 8

// sideBySide does n things, several at once.
func sideBySide(n int, do func(i int)) {
	var wait sync.WaitGroup
	slots := make(chan struct{}, manyPods)
	for i := range n {
		slots <- struct{}{}
		wait.Go(func() {
			do(i)
			<-slots
		})
	}
	wait.Wait()
}
