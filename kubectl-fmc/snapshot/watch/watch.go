// Package watch reports which files of a directory change, in batches.
//
//	batches, err := watch.Watch(ctx, repo.Dir(), watch.Options{Ignore: repo.Ignore()})
//	for b := range batches { snap, err := repo.TakePaths(ctx, b.Paths) … }
//
// It watches the directories that belong to a snapshot, and only those. A
// batch is handed over when nothing has happened for a few milliseconds, and
// at the latest after a bounded time, which is longer while git changes files:
// what a checkout changes is one batch. While the receiver is busy, changes are
// gathered into the next batch, so none is lost and nothing waits.
//
// Where the system cannot watch everything, the batches ask for a rescan at
// intervals, and the first of them says why.
package watch

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/ignore"
)

// Batch is a set of changes.
type Batch struct {
	// Paths are relative to the directory, with slashes, sorted.
	Paths []string
	// Rescan is set where Paths may not be all.
	Rescan bool
	// Notice is a line for the user, where there is one.
	Notice string
	// First and Last are when the batch's first and last change were seen.
	First, Last time.Time
}

// Options of Watch.
type Options struct {
	Ignore ignore.Options
	// Quiet is for how long nothing must have happened before a batch is handed
	// over: 5 ms by default, which spans the steps of an editor's save.
	Quiet time.Duration
	// Hold is for how long, from its first change, a batch is held back at
	// most: 100 ms by default.
	Hold time.Duration
	// Poll is the interval of rescans where not everything can be watched:
	// 1 s by default.
	Poll time.Duration
}

func (o *Options) complete() {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&o.Quiet, 5*time.Millisecond)
	set(&o.Hold, 100*time.Millisecond)
	set(&o.Poll, time.Second)
}

// Watch watches the directory dir, an absolute path without symbolic links,
// until ctx ends; then the channel is closed. When Watch returns, every change
// from then on will be reported.
func Watch(ctx context.Context, dir string, o Options) (<-chan Batch, error) {
	o.complete()
	w := &watcher{dir: dir, options: o, watched: map[string]*ignore.Dir{}, paths: map[string]bool{}}
	var err error
	if w.source, err = fsnotify.NewWatcher(); err != nil {
		if !w.limited(err) {
			return nil, fmt.Errorf("watching %q: %w", dir, err)
		}
		w.source = nil
	} else if err := w.restart(); err != nil {
		w.source.Close()
		return nil, err
	}
	out := make(chan Batch)
	go w.run(ctx, out)
	return out, nil
}

// watcher is the state of one Watch. All of it belongs to one goroutine.
type watcher struct {
	dir     string
	options Options
	source  *fsnotify.Watcher      // nil where the system allows none
	watched map[string]*ignore.Dir // by path relative to dir, "" for dir
	outside outside
	full    bool // the system allows no more watches
	lost    bool // dir itself is gone
	broken  bool // something could not be watched, see fail

	// The batch that is being gathered.
	paths       map[string]bool
	rescan      bool
	notice      string
	first, last time.Time
}

func (w *watcher) run(ctx context.Context, out chan<- Batch) {
	defer close(out)
	var events <-chan fsnotify.Event
	var faults <-chan error
	if w.source != nil {
		defer w.source.Close()
		events, faults = w.source.Events, w.source.Errors
	}
	ready, poll := time.NewTimer(0), time.NewTimer(w.options.Poll)
	defer ready.Stop()
	defer poll.Stop()
	polling := true
	var handOver chan<- Batch // out where a batch is ready, else nil
	var batch Batch
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-events:
			w.event(event)
		case err := <-faults:
			w.fault(err)
		case <-poll.C:
			polling = false
			w.poll()
		case <-ready.C:
		case handOver <- batch:
			w.paths, w.rescan, w.notice, w.first = map[string]bool{}, false, "", time.Time{}
		}
		handOver = nil
		if wait := w.wait(time.Now()); wait == 0 {
			handOver, batch = out, w.batch()
		} else if wait > 0 {
			ready.Reset(wait)
		}
		if (w.full || w.lost || w.broken) && !polling {
			poll.Reset(w.options.Poll)
			polling = true
		}
	}
}

// poll asks for a rescan where watching is not enough.
func (w *watcher) poll() {
	if !w.full && !w.lost && !w.broken {
		return
	}
	if (w.lost || w.broken) && w.restart() == nil {
		w.lost, w.broken = w.watched[""] == nil, false
	} else if w.broken && !w.full && !w.lost {
		return // as it was
	}
	w.mark("", true)
}

// wait returns how long the batch is still held back: 0 where it is ready,
// negative where there is none.
func (w *watcher) wait(now time.Time) time.Duration {
	if w.first.IsZero() {
		return -1
	}
	until := w.last.Add(w.options.Quiet)
	if latest := w.first.Add(w.options.Hold); latest.Before(until) {
		until = latest
	}
	if wait := until.Sub(now); wait > 0 {
		return wait
	}
	if w.gitAtWork(now) {
		return w.options.Quiet
	}
	return 0
}

func (w *watcher) batch() Batch {
	b := Batch{Rescan: w.rescan, Notice: w.notice, First: w.first, Last: w.last}
	for path := range w.paths {
		b.Paths = append(b.Paths, path)
	}
	slices.Sort(b.Paths)
	return b
}

// maxPaths bounds a batch: with more, looking at everything is cheaper than
// looking each up.
const maxPaths = 20000

// mark adds a change to the batch.
func (w *watcher) mark(path string, rescan bool) {
	w.last = time.Now()
	if w.first.IsZero() {
		w.first = w.last
	}
	if !rescan && len(w.paths) < maxPaths {
		w.paths[path] = true
		return
	}
	w.rescan = true
	clear(w.paths)
}

// fault handles an error of the source.
func (w *watcher) fault(err error) {
	if !errors.Is(err, fsnotify.ErrEventOverflow) {
		// Some events may be missing, whatever it was.
		w.notice = "watching for changes: " + err.Error()
	}
	w.startAnew()
	w.mark("", true)
}

// limited goes over to polling after an error that says that the system allows
// no more watches, and reports whether it was one.
func (w *watcher) limited(err error) bool {
	sysctl := ""
	switch {
	case errors.Is(err, syscall.ENOSPC):
		sysctl = "fs.inotify.max_user_watches"
	case errors.Is(err, syscall.EMFILE) && runtime.GOOS == "linux":
		sysctl = "fs.inotify.max_user_instances"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		sysctl = "kern.maxfilesperproc"
	default:
		return false
	}
	if !w.full {
		w.full = true
		w.notice = fmt.Sprintf("the system allows no more file watches: some changes are found by looking every %v; raise the sysctl %s to find them at once", w.options.Poll, sysctl)
	}
	w.mark("", true)
	return true
}
