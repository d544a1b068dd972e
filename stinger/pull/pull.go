// Package pull keeps a directory equal to a commit on a git hub.
//
//	p, err := pull.Open(pull.Options{URL: "https://tanajura:24090/orders.git", App: "/app", State: "/fmc/state", Transport: transport})
//	…
//	_, err = p.Verify()                // what an earlier process left
//	result, err := p.Pull(ctx, commit) // "" for the tip of the branch
//
// A pull has three steps. It fetches the commit, without history and without
// what the commit fetched before has, into an object store beside the
// directory (there is never a .git inside). It compares the tree with the one
// that was applied last, by the two trees' own hashes, so that the work grows
// with what changed and not with the size of the tree; names and links that
// could lead out of the directory are refused here, before anything is
// written. And it applies the difference: all new content is written first,
// beside its place, then renamed into place, then what is no more is removed.
// Files that no tree had (build output, dependencies, logs) stay, unless a new
// file needs their name.
//
// If a step fails the directory stays, or is made again, what it was. If the
// process dies in the last one, a record tells the next process, whose Verify
// completes it.
package pull

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	// fetchLimit bounds a fetch: maxPack at 2 MB/s.
	fetchLimit = 10 * time.Minute
	// collectEvery is after how many fetches old objects are removed. A save
	// leaves some 5 small files, so there are never many more than 2,000.
	collectEvery = 400
)

// Options say what to pull, and where to.
type Options struct {
	URL   string // of the repository on the hub, http or https
	App   string // the directory to keep
	State string // a directory for this package alone, outside App
	// Transport, where set, carries the requests to the hub, such as one that
	// adds credentials.
	Transport http.RoundTripper
	Log       *slog.Logger
}

// Puller keeps one directory. Its methods may be called at the same time; they
// wait for each other.
type Puller struct {
	log   *slog.Logger
	hub   *hub
	root  *os.Root
	state *state

	freeing atomic.Bool             // memory will be given back soon
	current atomic.Pointer[Applied] // a copy of applied for readers that do not wait

	mu      sync.Mutex // guards what follows
	store   *store
	applied Applied
	doing   *applying // a change that was begun and neither finished nor undone
	early   *early
	fetches int
	fault   func(step, path string) error // see applier
}

// Result is what a pull did.
type Result struct {
	Applied
	Changed int      // files written or removed
	Paths   []string // of those
	// Unknown is whether more may have changed than Paths tell.
	Unknown bool
	Fetch   time.Duration // asking the hub, and taking in what it sends
	Apply   time.Duration // comparing and changing the directory
}

// Open makes the directories where they are not there, and reads what an
// earlier process left. It does not yet change App.
func Open(opts Options) (*Puller, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	state, err := openState(opts.State)
	if err != nil {
		return nil, err
	}
	p := &Puller{log: opts.Log, hub: newHub(opts.URL, opts.Transport), state: state}
	if p.store, err = openStore(p.storeDir()); err != nil {
		return nil, errors.Join(err, state.close())
	}
	p.store.sweepTemporary()
	if err = os.MkdirAll(opts.App, 0o755); err == nil {
		p.root, err = os.OpenRoot(opts.App)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the service's directory: %w", err), state.close())
	}
	p.early = &early{app: p.root, workers: writers, most: maxPack}
	var done Applied
	done, p.doing = state.load()
	p.setApplied(done)
	return p, nil
}

func (p *Puller) storeDir() string { return filepath.Join(p.state.dir, "git") }

// Close lets another process use the state.
func (p *Puller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.store.objects.Close(), p.root.Close(), p.state.close())
}

// Applied returns what the directory is; the zero value before the first pull.
// While a pull is under way it is what was before.
func (p *Puller) Applied() Applied {
	if a := p.current.Load(); a != nil {
		return *a
	}
	return Applied{}
}

func (p *Puller) setApplied(a Applied) {
	p.applied = a
	p.current.Store(&a)
}

// Verify compares the whole directory with what it should be, and mends it: a
// change that the last process did not finish is finished, and what is lost,
// such as with a container's own file system, is written again. Where nothing
// was ever applied it does nothing.
func (p *Puller) Verify() (Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropEarly()
	target := p.applied
	var old []string
	if p.doing != nil {
		target, old = p.doing.New, append(p.doing.Old, p.applied.Tree)
	}
	if target.Commit == "" {
		return Result{}, nil
	}
	start := time.Now()
	changed, err := p.restore(target, old)
	if err != nil {
		// What is here may be anything, so that the next pull has to write it
		// all.
		p.setApplied(Applied{})
		return Result{}, fmt.Errorf("verifying the working tree: %w", err)
	}
	return Result{Applied: p.applied, Changed: changed.count, Paths: changed.paths, Unknown: changed.unknown, Apply: time.Since(start)}, nil
}

// Pull makes the directory equal to the commit, or to the tip of the hub's
// branch where commit is empty or no longer on the hub.
func (p *Puller) Pull(ctx context.Context, commit string) (Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.freeMemory()
	before := p.store.head
	r, err := p.pull(ctx, commit, base{commit: before.hash()})
	// Where the store lacks something then, the hub left out what is nowhere
	// here, or something was lost; where the hub breaks off, something may be
	// wrong with a commit in between.
	for _, next := range []base{{commit: before.hash(), alone: true}, {}} {
		missing := errors.Is(err, plumbing.ErrObjectNotFound)
		if !missing && !(next.alone && errors.Is(err, errTakingIn) && ctx.Err() == nil) {
			break
		}
		p.log.Warn("the fetch was incomplete: fetching more", "error", err)
		if err = p.store.forget(); err == nil {
			var again Result
			again, err = p.pull(ctx, commit, next)
			again.Fetch, again.Apply = again.Fetch+r.Fetch, again.Apply+r.Apply
			r = again
		}
	}
	switch {
	case err == nil:
		p.tidy()
	case p.store.head.Commit == "" && !errors.Is(err, plumbing.ErrObjectNotFound):
		err = errors.Join(err, p.store.setHead(before)) // nothing is wrong with what was here
	}
	return r, p.nameLimit(err)
}

func (p *Puller) pull(ctx context.Context, commit string, base base) (Result, error) {
	start := time.Now()
	hash, err := p.fetch(ctx, commit, base)
	p.early.finish()
	fetched := time.Now()
	var changed changes
	if err == nil {
		changed, err = p.apply(hash)
	}
	p.dropEarly()
	return Result{
		Applied: p.applied, Changed: changed.count, Paths: changed.paths, Unknown: changed.unknown,
		Fetch: fetched.Sub(start), Apply: time.Since(fetched),
	}, err
}

// fetch brings the commit into the store and returns it, or what it got
// instead of one that is no more.
func (p *Puller) fetch(ctx context.Context, commit string, from base) (plumbing.Hash, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchLimit, fmt.Errorf("it took more than %s", fetchLimit))
	defer cancel()
	want := plumbing.NewHash(commit)
	var err error
	if commit == "" {
		if want, err = p.hub.tip(ctx); err != nil {
			return want, err
		}
	}
	err = p.fetchCommit(ctx, want, from)
	if errors.Is(err, errNotOnHub) {
		// It was there when we were told of it, so a newer one has taken its
		// place.
		if want, err = p.hub.tip(ctx); err == nil {
			err = p.fetchCommit(ctx, want, from)
		}
	}
	if errors.Is(err, errStartOver) {
		err = p.fetchCommit(ctx, want, base{})
	}
	return want, err
}

func (p *Puller) fetchCommit(ctx context.Context, want plumbing.Hash, from base) error {
	if p.store.head.hash() == want {
		return nil
	}
	answer, err := p.hub.fetch(ctx, want, from)
	if err != nil {
		return err
	}
	defer answer.Close()
	p.fetches++
	return p.store.add(want, answer, p.showFiles)
}

// apply makes the directory equal to a commit that is in the store.
func (p *Puller) apply(commit plumbing.Hash) (changed changes, err error) {
	tree, err := p.store.commitTree(commit)
	if err != nil {
		return changes{}, err
	}
	target := Applied{Commit: commit.String(), Tree: tree.String(), At: time.Now()}
	if p.doing != nil {
		changed, err = p.restore(target, append(p.doing.Old, p.doing.New.Tree, p.applied.Tree))
		changed.unknown = true // of what is here already, too
		return changed, err
	}
	from := plumbing.NewHash(p.applied.Tree)
	plan, err := compare(p.store.tree, from, tree)
	if err != nil {
		return changes{}, fmt.Errorf("commit %.7s cannot be applied: %w", commit, err)
	}
	if plan.changed() == 0 {
		return changes{}, p.finish(target)
	}
	// Where nothing was applied the directory may have the files all the same,
	// from the image.
	return p.carryOut(plan, target, []string{p.applied.Tree}, from.IsZero())
}

// restore makes the directory equal to the target whatever of the old trees is
// in it.
func (p *Puller) restore(target Applied, old []string) (changed changes, err error) {
	tree := plumbing.NewHash(target.Tree)
	all, err := compare(p.store.tree, plumbing.ZeroHash, tree)
	if err != nil {
		return changes{}, err
	}
	slices.Sort(old)
	old = slices.Compact(old)
	for _, hash := range old {
		gone, err := compare(p.store.tree, plumbing.NewHash(hash), tree)
		if err != nil { // objects of a tree that is no more may be no more
			p.log.Warn("what is left of an old tree stays in the working tree", "tree", hash, "error", err)
			continue
		}
		all.removes = append(all.removes, gone.removes...)
		all.dirs = append(all.dirs, gone.dirs...)
	}
	if p.doing != nil {
		a := p.applier(true)
		if err := a.sweep(all.directories()); err != nil {
			return changes{}, fmt.Errorf("removing unfinished files: %w", err)
		}
	}
	return p.carryOut(all, target, old, true)
}

// carryOut changes the directory. The old trees are what it may have now.
func (p *Puller) carryOut(plan plan, target Applied, old []string, verify bool) (changed changes, err error) {
	a := p.applier(verify)
	if err := a.check(plan); err != nil {
		return changes{}, fmt.Errorf("commit %.7s cannot be applied: %w", target.Commit, err)
	}
	begun := p.doing
	doing := &applying{Old: old, New: target}
	if err := p.state.begin(*doing); err != nil {
		return changes{}, err
	}
	changed, err = a.stage(plan)
	if err != nil {
		if begun == nil {
			return changes{}, errors.Join(err, p.state.abandon())
		}
		return changes{}, errors.Join(err, p.state.begin(*begun))
	}
	p.doing = doing
	if err := a.place(plan); err != nil {
		a.discard()
		return changes{}, p.undo(err, begun != nil)
	}
	return changed, p.finish(target)
}

// undo goes back to the tree before a change that failed in its last step.
func (p *Puller) undo(cause error, again bool) error {
	if again { // this was the way back
		return cause
	}
	if _, err := p.restore(p.applied, append(p.doing.Old, p.doing.New.Tree)); err != nil {
		return fmt.Errorf("%w; and the way back failed, so that the working tree is a mixture until the next pull: %w", cause, err)
	}
	return cause
}

func (p *Puller) finish(target Applied) error {
	if err := p.state.finish(target); err != nil {
		return err
	}
	p.setApplied(target)
	p.doing = nil
	return nil
}

func (p *Puller) applier(verify bool) *applier {
	a := &applier{root: p.root, blob: p.store.blob, early: p.early, verify: verify, fault: p.fault, workers: writers, dirs: map[string]bool{"": true}}
	if p.fault != nil { // a test counts the steps
		a.workers = 1
	}
	return a
}

// tidy keeps the store small. A failure costs nothing but space.
func (p *Puller) tidy() {
	if err := p.store.dropOld(); err != nil {
		p.log.Warn("tidying the object store", "error", err)
	}
	if p.fetches < collectEvery {
		return
	}
	p.fetches = 0
	go func(start time.Time) {
		other, err := openStore(p.storeDir())
		if err == nil {
			_, err = other.collect(start)
			err = errors.Join(err, other.objects.Close())
		}
		if err != nil {
			p.log.Warn("tidying the object store", "error", err)
		}
	}(time.Now())
}
