package tell

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

// Greeter tells Stingers that have just started to run what the hub has: what
// was pushed after their first pull, and before they could be found, passed
// them by. To one that has it already that changes nothing.
type Greeter struct {
	stingers *Stingers
	head     func(service string) (string, error)
	log      *slog.Logger
	pause    time.Duration
	group    errgroup.Group
}

const (
	// maxGreeted is how many Stingers are greeted at once; the others wait.
	maxGreeted = 16
	// greetTries is how often one is tried that does not listen yet, and
	// greetPause the time between: it listens within ms of its start.
	greetTries = 5
	greetPause = time.Second
	// greetLimit is how long one answer is waited for. A Stinger that was
	// reached goes on without the asker.
	greetLimit = 10 * time.Second
)

// NewGreeter returns a Greeter. The head is a service's commit; "" where nothing
// was pushed.
func NewGreeter(stingers *Stingers, head func(service string) (string, error), log *slog.Logger) *Greeter {
	g := &Greeter{stingers: stingers, head: head, log: log, pause: greetPause}
	g.group.SetLimit(maxGreeted)
	return g
}

// Greet greets one Stinger of the service, and returns before it is done unless
// very many are greeted already.
func (g *Greeter) Greet(ctx context.Context, service string, target Target) {
	g.group.Go(func() error {
		g.greet(ctx, service, target)
		return nil
	})
}

// Wait waits until all that were greeted have answered, or their contexts have
// ended.
func (g *Greeter) Wait() { _ = g.group.Wait() }

func (g *Greeter) greet(ctx context.Context, service string, target Target) {
	// A service without a repository is another hub's, or none's.
	if head, err := g.head(service); err != nil || head == "" {
		return
	}
	var last string
	for range greetTries {
		limited, cancel := context.WithTimeout(ctx, greetLimit)
		// No commit: the tip. The head may move meanwhile, and an older one must
		// not come after a newer.
		outcome := g.stingers.ask(limited, target, "")
		reached := outcome.Error == "" || limited.Err() != nil
		cancel()
		if reached {
			return
		}
		last = outcome.Error
		select {
		case <-ctx.Done():
			return
		case <-time.After(g.pause):
		}
	}
	g.log.Warn("telling a Stinger that has just started", "service", service, "pod", target.Pod, "container", target.Container, "error", last)
}
