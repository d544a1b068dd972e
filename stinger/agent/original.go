package agent

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

const (
	// firstLook is how long the hub may keep an Original from starting: where
	// it has code, that should be what runs first, and a hub that is there
	// answers in milliseconds.
	firstLook = 3 * time.Second
	// originalRetry is the longest wait between two looks for code while an
	// Original runs. The hub tells of code when there is some, so this is for
	// a hub that comes later, and must not be a burden where none ever does.
	originalRetry = time.Minute
)

// Original is the command that the container would run without Stinger. It
// runs until there is code, where it would have run, and its end is the
// container's. A nil Original never runs.
type Original struct {
	Command []string
	// Hub is the hub's address, host:port. Pulling takes its time before it
	// calls a hub absent; whether anybody listens is found out faster.
	Hub  string
	over atomic.Bool
}

// Runs reports whether it is still what there is to run.
func (o *Original) Runs() bool { return o != nil && !o.over.Load() }

func (o *Original) end() {
	if o != nil {
		o.over.Store(true)
	}
}

// IsOriginal reports whether the container's own command is what there is to
// run.
func (a *Agent) IsOriginal() bool { return a.opts.Original.Runs() }

// look asks the hub for code; nil means that the code is here. An Original is
// started when the hub has none, or takes its time.
func (a *Agent) look(ctx context.Context) *api.PullResult {
	if !a.opts.Original.Runs() {
		return a.pullAtStart(ctx)
	}
	answer := make(chan *api.PullResult, 1)
	go func() { answer <- a.pullAtStart(ctx) }()
	if !a.opts.Original.hubListens(ctx) {
		a.startOriginal(ctx)
		return <-answer
	}
	var result *api.PullResult
	select {
	case result = <-answer:
	case <-time.After(firstLook):
		a.startOriginal(ctx)
		return <-answer
	}
	if result != nil {
		a.startOriginal(ctx)
	}
	return result
}

// startOriginal starts the Original once; later starts are requests'.
func (a *Agent) startOriginal(ctx context.Context) {
	if a.opts.Group.Status().Starts > 0 || !a.opts.Original.Runs() {
		return
	}
	a.opts.Log.Info("running the container's own command until there is code")
	a.log(a.start(ctx))
}

// hubListens reports whether the hub takes connections.
func (o *Original) hubListens(ctx context.Context) bool {
	dialer := net.Dialer{Timeout: firstLook}
	connection, err := dialer.DialContext(ctx, "tcp", o.Hub)
	if err != nil {
		return false
	}
	connection.Close()
	return true
}
