package devspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/push"
)

// Directory is a local directory that is synced to a service: a Source, and a
// watcher.
type Directory struct {
	client            *Client
	devspace, service string
	repo              *snapshot.Repo
	pusher            *push.Pusher
	cache             string // DirectoryConfig.CacheDir
	lease             *lease // nil where there is none: see Claim
	// synced is set when the service is taken to be deployed: see checkDeployed.
	synced atomic.Bool
	end    context.CancelCauseFunc // of a watch; nil where there is none
}

// DirectoryConfig says what to sync and where to.
type DirectoryConfig struct {
	Path, Service, Devspace string
	// CacheDir is where what was seen is kept between runs; empty means the
	// user's cache directory.
	CacheDir string
}

// OpenDirectory opens a directory for syncing to a service. The hub stays the
// caller's to close.
func (c *Client) OpenDirectory(hub *Hub, cfg DirectoryConfig) (*Directory, error) {
	host := "cluster"
	if c.Config != nil {
		host = c.Config.Host
	}
	repo, err := snapshot.Open(cfg.Path, snapshot.Options{CacheDir: cfg.CacheDir, Hub: cfg.Devspace + "@" + host, Service: cfg.Service})
	if err != nil {
		return nil, err
	}
	d := &Directory{client: c, devspace: cfg.Devspace, service: cfg.Service, repo: repo, cache: cfg.CacheDir}
	d.pusher = push.New(push.Config{BaseURL: hubURL, Name: cfg.Service, Client: hub.client, Source: repo, Create: true, BeforeCreate: d.beforeCreate})
	return d, nil
}

// Close ends the use of the directory's cache, and gives back its lease.
func (d *Directory) Close() error { return errors.Join(d.lease.release(), d.repo.Close()) }

// Push brings the hub to the directory's present state.
func (d *Directory) Push(ctx context.Context) (Pushed, error) {
	snap, err := d.repo.Take(ctx)
	if err != nil {
		return Pushed{}, err
	}
	// What the hub acknowledged in an earlier run may be lost with it; a push
	// of nothing new would not find out.
	d.pusher.Doubt()
	if err := d.lease.confirm(ctx); err != nil {
		return Pushed{}, err
	}
	result, err := d.pusher.Push(ctx, snap.Tree)
	if err != nil {
		return Pushed{}, err
	}
	return pushed(snap, result), nil
}

func pushed(snap snapshot.Snapshot, result push.Result) Pushed {
	p := Pushed{
		Commit: result.Commit.String(), Tree: result.Tree.String(), Files: snap.Files, Bytes: result.Bytes,
		UpToDate: result.UpToDate, Outcomes: result.Outcomes,
	}
	p.Notes = append(p.Notes, snap.Notes...)
	for _, s := range snap.Skipped {
		p.Notes = append(p.Notes, "left out "+s.String())
	}
	if text := largeText(snap.Large); text != "" && !p.UpToDate {
		p.Notes = append(p.Notes, text)
	}
	return p
}

// Watch keeps the hub equal to the directory until ctx ends, and prints each
// save with what became of it in each pod.
//
// Where somebody else takes the lease it says what is not pushed, and returns
// that *TakenOverError.
func (d *Directory) Watch(ctx context.Context, timings bool, out io.Writer) error {
	return d.watch(ctx, &watcher{service: d.service, timings: timings, out: SyncWriter(out)})
}

// reporter tells what happens in a sync. Events come one at a time, the rest
// whenever it is known.
type reporter interface {
	event(e snapshot.Event)
	// checked tells what became of a push in the end; err is nil where all is well.
	checked(p Pushed, err error)
	// mended tells of a pod that did not have the push's tree.
	mended(text string)
	// takenOver is the last that a sync tells.
	takenOver(lost error)
}

// watch is Watch with any reporter.
func (d *Directory) watch(ctx context.Context, r reporter) error {
	ctx, cancel := d.lease.guard(ctx)
	defer cancel()
	ctx, d.end = context.WithCancelCause(ctx)
	defer d.end(nil)
	d.synced.Store(true)
	f := follower{reporter: r, check: d.check, mend: d.mend}
	defer f.checks.Wait()
	err := snapshot.Run(ctx, snapshot.Config{Repo: d.repo, Pusher: d.pusher, Before: d.lease.confirm, OnEvent: func(e snapshot.Event) {
		r.event(e)
		if e.Kind == snapshot.Synced {
			f.follow(ctx, pushed(e.Snapshot, e.Push))
		}
	}})
	if lost := new(TakenOverError); errors.As(context.Cause(ctx), &lost) {
		r.takenOver(lost)
		return lost
	}
	return err
}

// follower finds out what becomes of a push after its answer.
type follower struct {
	reporter
	check func(context.Context, Pushed) error
	// mend brings pods to the push's tree that do not have it.
	mend func(ctx context.Context, p Pushed, say func(string))

	checks sync.WaitGroup
	stale  context.CancelFunc // ends the look at the push before
}

// follow has the reporter told what is found, unless a newer push comes first.
func (f *follower) follow(ctx context.Context, p Pushed) {
	if f.stale != nil {
		f.stale()
	}
	ctx, f.stale = context.WithCancel(ctx)
	f.checks.Go(func() {
		f.mend(ctx, p, func(text string) {
			if ctx.Err() == nil {
				f.mended(text)
			}
		})
	})
	f.checks.Go(func() {
		if err := f.check(ctx, p); ctx.Err() == nil {
			f.checked(p, err)
		}
	})
}

// watcher prints what happens.
type watcher struct {
	service string
	timings bool
	out     io.Writer
	failed  string // the failure that was printed last, "" after a success
	unsent  string // what the end left unsent
}

func (w *watcher) event(e snapshot.Event) {
	now := time.Now().Format("15:04:05")
	switch e.Kind {
	case snapshot.Synced:
		w.failed = ""
		if !e.Push.UpToDate { // else it is told when the pods have been asked
			fmt.Fprintf(w.out, "%s %s: %s\n", now, w.service, saveLine(e))
		}
		for _, skipped := range e.Snapshot.Skipped {
			fmt.Fprintf(w.out, "%s %s: left out %s\n", now, w.service, skipped)
		}
		if text := largeText(e.Snapshot.Large); text != "" && !e.Push.UpToDate {
			fmt.Fprintf(w.out, "%s %s: %s\n", now, w.service, text)
		}
		PrintOutcomes(w.out, e.Push.Outcomes)
		if w.timings {
			w.printTimings(e)
		}
	case snapshot.Failed:
		// The same failure each few seconds is one piece of news. That of a lease
		// that is lost ends all of it.
		if errors.As(e.Err, new(*TakenOverError)) {
			return
		}
		if text := e.Err.Error(); text != w.failed {
			w.failed = text
			fmt.Fprintf(w.out, "%s %s: not synced, trying again: %s\n", now, w.service, text)
		}
	case snapshot.Notice:
		fmt.Fprintf(w.out, "%s %s: %s\n", now, w.service, e.Text)
	case snapshot.Unsent:
		w.unsent = changedText(e.Snapshot)
		fmt.Fprintf(w.out, "%s %s: not pushed: %s\n", now, w.service, w.unsent)
	case snapshot.Replaced:
		fmt.Fprintf(w.out, "%s %s: somebody else pushed %s: the next save here replaces it\n", now, w.service, short(e.Head.String()))
	}
}

func (w *watcher) takenOver(lost error) {
	rest := "all that was saved here was pushed before"
	if w.unsent != "" {
		rest = "what was not pushed is in the directory as it was saved"
	}
	fmt.Fprintf(w.out, "%s %s: this sync ends: %v; %s\n", time.Now().Format("15:04:05"), w.service, lost, rest)
}

func (w *watcher) mended(text string) {
	fmt.Fprintf(w.out, "%s %s: %s\n", time.Now().Format("15:04:05"), w.service, text)
}

// checked prints what is not well. Where the hub was up to date it is all that
// there is to tell.
func (w *watcher) checked(p Pushed, err error) {
	now := time.Now().Format("15:04:05")
	switch {
	case err != nil && p.UpToDate:
		fmt.Fprintf(w.out, "%s %s: %s is on the hub and does not run\n%s\n", now, w.service, short(p.Commit), indent(err.Error()))
	case err != nil:
		fmt.Fprintln(w.out, indent(err.Error()))
	case p.UpToDate:
		fmt.Fprintf(w.out, "%s %s: in sync at %s\n", now, w.service, short(p.Commit))
	}
}

// saveLine tells what was saved, where it is and how long it took.
func saveLine(e snapshot.Event) string {
	line := fmt.Sprintf("%s → %s", changedText(e.Snapshot), short(e.Push.Commit.String()))
	if len(e.Push.Outcomes) == 0 {
		line += ", no pod to tell"
	}
	return line + fmt.Sprintf(" (%s)", seconds(e.Timings.Total))
}

func changedText(s snapshot.Snapshot) string {
	const shown = 2
	switch {
	case len(s.Paths) == 0:
		return plural(s.Files, "file")
	case s.Changed <= shown && len(s.Paths) == s.Changed:
		shown := make([]string, len(s.Paths))
		for i, path := range s.Paths {
			shown[i] = snapshot.Printable(path)
		}
		return strings.Join(shown, ", ")
	}
	return fmt.Sprintf("%s and %d more", snapshot.Printable(s.Paths[0]), s.Changed-1)
}

// PrintOutcomes prints what became of a push in each container.
func PrintOutcomes(out io.Writer, outcomes []api.Outcome) {
	for _, o := range outcomes {
		fmt.Fprintf(out, "  %s/%s: %s\n", o.Pod, o.Container, outcomeText(o))
		if o.Result.Output != "" {
			fmt.Fprintf(out, "%s\n", indent(indent(o.Result.Output)))
		}
	}
}

func outcomeText(o api.Outcome) string {
	r := o.Result
	switch {
	case o.Error != "":
		return "not reached: " + o.Error
	case r.Error != "":
		return fmt.Sprintf("failed: %s", r.Error)
	case r.Superseded:
		return fmt.Sprintf("a newer save took its place, %s", short(r.Commit))
	}
	text := fmt.Sprintf("runs %s, %s", short(r.Commit), plural(r.Changed, "file"))
	return text + doneText(r) + fmt.Sprintf(" (%d ms)", int(o.Millis))
}

// printTimings prints each hop of a save.
func (w *watcher) printTimings(e snapshot.Event) {
	t, p := e.Timings, e.Push.Timings
	fmt.Fprintf(w.out, "  watch %s, snapshot %s, push %s (prepare %s, send %s, wait %s, answer %s; %s, %s)\n",
		seconds(t.Watch), seconds(t.Snapshot), seconds(t.Push), seconds(p.Prepare), seconds(p.Send), seconds(p.Wait), seconds(p.Answer),
		plural(e.Push.Objects, "object"), size(e.Push.Bytes))
	for _, o := range e.Push.Outcomes {
		r := o.Result.Timings
		fmt.Fprintf(w.out, "  %s/%s: fetch %.0f ms, apply %.0f ms, build %.0f ms, restart %.0f ms\n", o.Pod, o.Container, r.Fetch, r.Apply, r.Build, r.Restart)
	}
}

// containers returns the living containers of the service whose Stingers can be
// asked; with outcomes only those that did something to a process.
func (d *Directory) containers(ctx context.Context, outcomes []api.Outcome) ([]stinger, error) {
	pods, err := d.client.servicePods(ctx, d.devspace, d.service)
	if err != nil {
		return nil, err
	}
	found := runningStingers(pods)
	if outcomes == nil {
		return found, nil
	}
	return slices.DeleteFunc(found, func(s stinger) bool {
		return !slices.ContainsFunc(outcomes, func(o api.Outcome) bool {
			return o.Pod == s.pod.Name && o.Container == s.endpoint.Container && touched(o)
		})
	}), nil
}

// check reports what does not run after a push that no pod refused.
func (d *Directory) check(ctx context.Context, p Pushed) error {
	if p.UpToDate {
		return d.checkPresent(ctx, p.Commit)
	}
	return d.checkRestarts(ctx, p)
}

// checkRestarts reports processes that were started by a push, or told of it, and
// ended by themselves soon after.
func (d *Directory) checkRestarts(ctx context.Context, p Pushed) error {
	if !slices.ContainsFunc(p.Outcomes, touched) {
		return nil
	}
	started, err := d.containers(ctx, p.Outcomes)
	if err != nil {
		return err
	}
	k := d.client.checkNow(p.Commit)
	faults := make([]error, len(started))
	sideBySide(len(started), func(i int) {
		if p := k.endsSoon(ctx, started[i]); p != nil {
			faults[i] = k.error(started[i], p)
		}
	})
	return errors.Join(faults...)
}

// checkPresent reports what does not run the commit that the hub has had
// before: nobody was told of it, so nobody answered.
func (d *Directory) checkPresent(ctx context.Context, commit string) error {
	containers, err := d.containers(ctx, nil)
	if err != nil {
		return err
	}
	return d.client.checkNow(commit).settled(ctx, containers)
}

// SyncOnce brings the hub to the directory's present state and tells what
// became of it. It fails where a pod could not take it.
func (d *Directory) SyncOnce(ctx context.Context, out io.Writer) error {
	started := time.Now()
	d.synced.Store(true)
	p, err := d.Push(ctx)
	if err != nil {
		return err
	}
	printPushed(out, d.service, p)
	PrintOutcomes(out, p.Outcomes)
	for _, o := range p.Outcomes {
		if o.Error != "" || o.Result.Error != "" {
			return fmt.Errorf("%s/%s does not run %s: %s", o.Pod, o.Container, short(p.Commit), orElse(o.Error, o.Result.Error))
		}
	}
	took := time.Since(started)
	if err := d.check(ctx, p); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: in sync (%s)\n", d.service, seconds(took))
	return nil
}

// CheckSynced reports a service that no directory can be synced to.
func (c *Client) CheckSynced(ctx context.Context, devspace, name string) error {
	if err := c.checkService(ctx, devspace, name); err != nil {
		return err
	}
	pods, err := c.servicePods(ctx, devspace, name)
	if err != nil {
		return err
	}
	for i := range pods {
		if len(stingers(&pods[i])) > 0 {
			return nil
		}
	}
	if len(pods) == 0 {
		return nil // scaled to none: the hub keeps it until there are
	}
	return errors.New("service " + name + " runs its image as it is: deploy it with a path to sync it")
}
