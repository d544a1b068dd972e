package devspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/push"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Directory is a local directory that is synced to a service: a Source, and a
// watcher.
type Directory struct {
	client            *Client
	devspace, service string
	repo              *snapshot.Repo
	pusher            *push.Pusher
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
	pusher := push.New(push.Config{BaseURL: hubURL, Name: cfg.Service, Client: hub.client, Source: repo, Create: true})
	return &Directory{client: c, devspace: cfg.Devspace, service: cfg.Service, repo: repo, pusher: pusher}, nil
}

// Close ends the use of the directory's cache.
func (d *Directory) Close() error { return d.repo.Close() }

// Push brings the hub to the directory's present state.
func (d *Directory) Push(ctx context.Context) (Pushed, error) {
	snap, err := d.repo.Take(ctx)
	if err != nil {
		return Pushed{}, err
	}
	// What the hub acknowledged in an earlier run may be lost with it; a push
	// of nothing new would not find out.
	d.pusher.Doubt()
	result, err := d.pusher.Push(ctx, snap.Tree)
	if err != nil {
		return Pushed{}, err
	}
	return pushed(snap, result), nil
}

func pushed(snap snapshot.Snapshot, result push.Result) Pushed {
	p := Pushed{
		Commit: result.Commit.String(), Files: snap.Files, Bytes: result.Bytes,
		UpToDate: result.UpToDate, Outcomes: result.Outcomes,
	}
	for _, s := range snap.Skipped {
		p.Notes = append(p.Notes, "left out "+s.String())
	}
	return p
}

// Watch keeps the hub equal to the directory until ctx ends, and prints each
// save with what became of it in each pod.
func (d *Directory) Watch(ctx context.Context, timings bool, out io.Writer) error {
	w := &watcher{service: d.service, timings: timings, out: SyncWriter(out)}
	w.restarted = func(o api.Outcome) {
		w.checks.Go(func() { d.checkRestart(ctx, o, w.out) })
	}
	defer w.checks.Wait()
	return snapshot.Run(ctx, snapshot.Config{Repo: d.repo, Pusher: d.pusher, OnEvent: w.event})
}

// watcher prints what happens.
type watcher struct {
	service string
	timings bool
	out     io.Writer
	failed  string // the failure that was printed last, "" after a success

	// restarted is told of each container whose process was started anew.
	restarted func(api.Outcome)
	checks    sync.WaitGroup
}

func (w *watcher) event(e snapshot.Event) {
	now := time.Now().Format("15:04:05")
	switch e.Kind {
	case snapshot.Synced:
		w.failed = ""
		fmt.Fprintf(w.out, "%s %s: %s\n", now, w.service, saveLine(e))
		for _, skipped := range e.Snapshot.Skipped {
			fmt.Fprintf(w.out, "%s %s: left out %s\n", now, w.service, skipped)
		}
		PrintOutcomes(w.out, e.Push.Outcomes)
		for _, o := range e.Push.Outcomes {
			if o.Result.Restarted {
				w.restarted(o)
			}
		}
		if w.timings {
			w.printTimings(e)
		}
	case snapshot.Failed:
		// The same failure each few seconds is one piece of news.
		if text := e.Err.Error(); text != w.failed {
			w.failed = text
			fmt.Fprintf(w.out, "%s %s: not synced, trying again: %s\n", now, w.service, text)
		}
	case snapshot.Notice:
		fmt.Fprintf(w.out, "%s %s: %s\n", now, w.service, e.Text)
	case snapshot.Replaced:
		fmt.Fprintf(w.out, "%s %s: somebody else pushed %s: the next save here replaces it\n", now, w.service, short(e.Head.String()))
	}
}

// saveLine tells what was saved, where it is and how long it took.
func saveLine(e snapshot.Event) string {
	if e.Push.UpToDate {
		return fmt.Sprintf("in sync at %s", short(e.Push.Commit.String()))
	}
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
		return strings.Join(s.Paths, ", ")
	}
	return fmt.Sprintf("%s and %d more", s.Paths[0], s.Changed-1)
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
	if r.Restarted {
		text += fmt.Sprintf(", restarted as pid %d", r.PID)
	}
	return text + fmt.Sprintf(" (%d ms)", int(o.Millis))
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

// settleTime is after how long a restarted process is looked at again: one that
// cannot start mostly ends within this time.
const settleTime = 1500 * time.Millisecond

// checkRestart tells where a process that was started ended by itself soon
// after.
func (d *Directory) checkRestart(ctx context.Context, o api.Outcome, out io.Writer) {
	if err := d.settled(ctx, o); err != nil && ctx.Err() == nil {
		fmt.Fprintf(out, "  %v\n", err)
	}
}

// settled waits for settleTime and reports a process that does not run then,
// with the last lines of its log.
func (d *Directory) settled(ctx context.Context, o api.Outcome) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(settleTime):
	}
	pod, err := d.client.Kube.CoreV1().Pods(d.devspace).Get(ctx, o.Pod, metav1.GetOptions{})
	if err != nil {
		return nil // replaced meanwhile: its successor starts anew
	}
	for _, s := range stingers(pod) {
		if s.endpoint.Container != o.Container {
			continue
		}
		status, err := d.client.stingerStatus(ctx, s)
		if err == nil && status.State == api.StateBackoff && status.Commit == o.Result.Commit {
			return fmt.Errorf("%s/%s: the process ended by itself (%s)\n%s", o.Pod, o.Container,
				orElse(status.LastExit, status.LastError), indent(indent(d.client.lastLog(ctx, pod, o.Container, false))))
		}
	}
	return nil
}

// SyncOnce brings the hub to the directory's present state and tells what
// became of it. It fails where a pod could not take it.
func (d *Directory) SyncOnce(ctx context.Context, out io.Writer) error {
	started := time.Now()
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
	for _, o := range p.Outcomes {
		if !o.Result.Restarted {
			continue
		}
		if err := d.settled(ctx, o); err != nil {
			return err
		}
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
