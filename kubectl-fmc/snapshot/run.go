package snapshot

import (
	"context"
	"errors"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/push"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/watch"
)

// Config of Run.
type Config struct {
	Repo   *Repo
	Pusher *push.Pusher // whose Source is Repo
	// OnEvent, where set, is told what happens, one event at a time; the next
	// save waits for it.
	OnEvent func(Event)
	// Before, where set, is asked before each push; its error is a failure of
	// that push.
	Before func(context.Context) error
	// Watch holds the watcher's times; its Ignore is the Repo's.
	Watch watch.Options
	// CheckEvery is how often an idle loop compares the hub with the directory,
	// so that a lost hub is refilled: 30 s by default, never where negative.
	CheckEvery time.Duration
	// Wake, where set, asks for that comparison at once, say because the way to
	// the hub is open again.
	Wake <-chan struct{}
}

// EventKind says what an Event tells.
type EventKind int

// The kinds of events.
const (
	// Synced: the hub holds the directory as it was in Snapshot.
	Synced EventKind = iota + 1
	// Failed: Err happened, and it is tried again in RetryIn, or with the
	// next change.
	Failed
	// Notice: Text is for the user.
	Notice
	// Replaced: somebody else pushed Head. The next change here is pushed
	// over it.
	Replaced
	// Unsent: the end came before all was pushed. Changed and Paths of Snapshot
	// say what was saved since the hub was last known to have all.
	Unsent
)

// Event is something that happened in Run.
type Event struct {
	Kind     EventKind
	Snapshot Snapshot
	Push     push.Result
	Timings  Timings
	Err      error
	RetryIn  time.Duration
	Text     string
	Head     object.ID
}

// Timings are the parts of a save's way.
type Timings struct {
	// Changed is when the first change was seen; zero where there was none to
	// see, as at the start.
	Changed  time.Time
	Watch    time.Duration // until the changes were taken up
	Snapshot time.Duration
	Push     time.Duration // until the hub's answer, with all outcomes, had ended
	Total    time.Duration
}

// Back-off after failures.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Run keeps the hub's repository equal to the directory until ctx ends: once
// at the start, and then with each change. Failures are reported and tried
// again; no change is lost by them. It returns an error only where the
// directory cannot be watched at all.
func Run(ctx context.Context, cfg Config) error {
	cfg.Watch.Ignore = cfg.Repo.Ignore()
	batches, err := watch.Watch(ctx, cfg.Repo.Dir(), cfg.Watch)
	if err != nil {
		return err
	}
	if cfg.CheckEvery == 0 {
		cfg.CheckEvery = 30 * time.Second
	}
	l := &loop{cfg: cfg, due: true, all: true, begun: time.Now()}
	return l.run(ctx, batches)
}

// loop is the state of one Run.
type loop struct {
	cfg Config

	// What is not on the hub yet.
	due     bool
	all     bool // every path, not only those in paths
	paths   []string
	changed time.Time // when the first of it was seen
	begun   time.Time // when it was taken up

	retry    time.Duration // the last pause; 0 after a success
	suspects int           // failures in a row that a damaged cache may explain
	told     object.ID     // the last head that Replaced was sent for
	unsent   Snapshot      // Changed and Paths of what was taken and not pushed
}

func (l *loop) run(ctx context.Context, batches <-chan watch.Batch) error {
	idle := time.NewTimer(time.Hour)
	defer idle.Stop()
	for {
		idle.Stop()
		if l.due {
			l.sync(ctx)
		}
		switch {
		case l.retry > 0:
			idle.Reset(l.retry)
		case l.cfg.CheckEvery > 0:
			idle.Reset(l.cfg.CheckEvery)
		}
		select {
		case <-ctx.Done():
			l.leave(ctx)
			return nil
		case b, ok := <-batches:
			if !ok {
				l.leave(ctx)
				return nil
			}
			l.add(b)
		case <-l.cfg.Wake:
			l.check(ctx)
		case <-idle.C:
			l.check(ctx)
		}
	}
}

func (l *loop) tell(e Event) {
	if l.cfg.OnEvent != nil {
		l.cfg.OnEvent(e)
	}
}

// add takes up a batch.
func (l *loop) add(b watch.Batch) {
	if b.Notice != "" {
		l.tell(Event{Kind: Notice, Text: b.Notice})
	}
	if !l.due {
		l.changed = b.First
	}
	l.due, l.all, l.begun = true, l.all || b.Rescan, time.Now()
	if l.paths = append(l.paths, b.Paths...); l.all {
		l.paths = nil
	}
}

// check compares the hub with the directory; while something is due, the push
// that is due does.
func (l *loop) check(ctx context.Context) {
	l.begun = time.Now()
	if l.due {
		return
	}
	commit, tree := l.cfg.Repo.Acknowledged()
	head, err := l.cfg.Pusher.Head(ctx)
	switch {
	case ctx.Err() != nil || err == nil && head == commit:
		return
	case err == nil && !head.IsZero():
		// Pushing over it here would be answered in kind, for ever.
		if head != l.told && l.cfg.Repo.TreeOf(head) != tree {
			l.told = head
			l.cfg.Pusher.Doubt()
			l.tell(Event{Kind: Replaced, Head: head})
		}
		return
	}
	// It is gone, or cannot be reached: the push finds out and reports.
	l.cfg.Pusher.Doubt()
	l.due, l.changed = true, time.Time{}
}

// sync pushes what is due.
func (l *loop) sync(ctx context.Context) {
	t := Timings{Changed: l.changed}
	if !t.Changed.IsZero() {
		t.Watch = l.begun.Sub(t.Changed)
	}
	snap, err := l.take(ctx)
	if err != nil {
		l.all = true
		l.failedUnless(ctx, err)
		return
	}
	t.Snapshot = snap.Took
	for _, note := range snap.Notes {
		l.tell(Event{Kind: Notice, Text: note})
	}
	l.keep(snap)
	// The snapshot has it all, whatever becomes of the push.
	l.all, l.paths = false, nil
	start := time.Now()
	if l.inSync(snap) {
		l.succeeded()
		return
	}
	result, err := l.push(ctx, snap.Tree)
	if err != nil {
		l.failedUnless(ctx, err)
		return
	}
	t.Push = time.Since(start)
	if t.Total = time.Since(l.begun) + t.Watch; t.Changed.IsZero() {
		t.Total = t.Snapshot + t.Push
	}
	l.succeeded()
	snap.Commit = result.Commit
	l.tell(Event{Kind: Synced, Snapshot: snap, Push: result, Timings: t})
}

func (l *loop) push(ctx context.Context, tree object.ID) (push.Result, error) {
	if l.cfg.Before != nil {
		if err := l.cfg.Before(ctx); err != nil {
			return push.Result{}, err
		}
	}
	return l.cfg.Pusher.Push(ctx, tree)
}

// leaveLimit bounds a last look at the directory.
const leaveLimit = 2 * time.Second

// leave tells what the end leaves unsent.
func (l *loop) leave(ctx context.Context) {
	if !l.due {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	snap, err := l.take(ctx)
	if err == nil {
		l.keep(snap)
		if _, tree := l.cfg.Repo.Acknowledged(); tree == snap.Tree {
			return // it was undone, or only the answer is missing
		}
		l.unsent.Files = snap.Files
	}
	l.tell(Event{Kind: Unsent, Snapshot: l.unsent})
}

// maxUnsent bounds the names that are kept of what is not pushed.
const maxUnsent = 20

// keep notes what a snapshot has that is not pushed yet.
func (l *loop) keep(snap Snapshot) {
	l.unsent.Changed += snap.Changed
	for _, path := range snap.Paths {
		if len(l.unsent.Paths) < maxUnsent {
			l.unsent.Paths = append(l.unsent.Paths, path)
		}
	}
}

func (l *loop) take(ctx context.Context) (Snapshot, error) {
	if l.all {
		return l.cfg.Repo.Take(ctx)
	}
	return l.cfg.Repo.TakePaths(ctx, l.paths)
}

// inSync reports whether the hub is known to hold the snapshot.
func (l *loop) inSync(snap Snapshot) bool {
	_, tree := l.cfg.Repo.Acknowledged()
	return l.cfg.Pusher.Sure() && tree == snap.Tree
}

func (l *loop) succeeded() {
	l.due, l.retry, l.suspects, l.told, l.unsent = false, 0, 0, object.ID{}, Snapshot{}
}

// failedUnless reports a failure, unless it only says that the end has come.
func (l *loop) failedUnless(ctx context.Context, err error) {
	if ctx.Err() == nil {
		l.failed(err)
	}
}

// maxSuspects is after how many failures in a row the cache is taken to be
// damaged: the hub's refusal of a complete push is otherwise hard to explain.
const maxSuspects = 3

func (l *loop) failed(err error) {
	l.retry = min(max(2*l.retry, firstRetry), lastRetry)
	var refused *push.RejectedError
	if errors.As(err, &refused) || errors.Is(err, object.ErrMissing) || errors.Is(err, object.ErrDamaged) {
		if l.suspects++; l.suspects == maxSuspects {
			err = errors.Join(err, l.cfg.Repo.Reset())
			l.all = true
		}
	}
	l.tell(Event{Kind: Failed, Err: err, RetryIn: l.retry})
}
