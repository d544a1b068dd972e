package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace/definition"
	"github.com/spf13/cobra"
)

type syncOptions struct {
	*app
	name, path, file string
	once, timings    bool
	takeOver         bool
	output           string
}

func newCmdSync(a *app) *cobra.Command {
	o := &syncOptions{app: a}
	c := &cobra.Command{
		Use:   "sync [NAME [PATH]]",
		Short: "Keep deployed services equal to local directories",
		Long: `Pushes each save to the devspace and tells what became of it in each pod, until
^C. PATH is the definition's, else the current directory. Without NAME all
services of the definition that have a path are synced.

One sync at a time holds a service: a second one is refused with the first's
name, unless --take-over ends the first.`,
		Example: `  kubectl fmc sync
  kubectl fmc sync orders ./orders --timings
  kubectl fmc sync orders -o json      # a line for each save, with each hop
  kubectl fmc sync orders --once`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.name = args[0]
			}
			if len(args) > 1 {
				o.path = args[1]
			}
			if err := checkOutput(o.output, "text", "json"); err != nil {
				return err
			}
			if o.once && o.output == "json" {
				return errors.New("--once has no JSON output: leave out one of the two")
			}
			if o.once && o.timings {
				return errors.New("--once prints no hops: leave out --timings, or --once")
			}
			services, err := o.services()
			if err != nil {
				return err
			}
			return o.run(c.Context(), services)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.file, "filename", "f", "", "Definition file that has the paths")
	f.BoolVar(&o.once, "once", false, "Push the present state and end")
	f.BoolVar(&o.timings, "timings", false, "Print each hop of a save")
	addTakeOver(f, &o.takeOver)
	addOutput(c, &o.output, "text", "json")
	return c
}

// services returns what to sync: only names and paths count.
func (o *syncOptions) services() ([]*definition.Service, error) {
	file := o.file
	if file == "" {
		file = definition.Locate(".")
	}
	if o.path == "" && file != "" {
		s := selection{file: file}
		services, err := s.services(o.name, "", io.Discard)
		if err != nil {
			return nil, err
		}
		var synced []*definition.Service
		for _, service := range services {
			if service.Synced() {
				synced = append(synced, service)
			}
		}
		if len(synced) == 0 {
			return nil, fmt.Errorf("no service of %s has a path to sync", file)
		}
		return synced, nil
	}
	if o.name == "" {
		return nil, errors.New("no service: give NAME, or a definition file with -f")
	}
	path := o.path
	if path == "" {
		path = "."
	}
	path, err := absolute(path)
	if err != nil {
		return nil, err
	}
	service, err := definition.New(o.name, "unused", path, nil)
	if err != nil {
		return nil, err
	}
	return []*definition.Service{service}, isDirectory(path)
}

func (o *syncOptions) run(ctx context.Context, services []*definition.Service) error {
	client, space, err := o.open(ctx)
	if err != nil {
		return err
	}
	if err := o.announce("devspace " + space); err != nil {
		return err
	}
	for _, s := range services {
		if err := client.CheckSynced(ctx, space, s.Name); err != nil {
			return err
		}
	}
	hub := client.Hub(space)
	defer hub.Close()
	directories, err := openDirectories(client, hub, space, services)
	if err != nil {
		return err
	}
	defer closeDirectories(directories)
	if err := claim(ctx, directories, devspace.Claim{TakeOver: o.takeOver, Once: o.once, Out: o.ErrOut}); err != nil {
		return err
	}
	if !o.once {
		fmt.Fprintln(o.ErrOut, "watching for changes; ^C ends")
		watch := (*devspace.Directory).WatchRecords
		if o.output == "text" {
			watch = watchText(o.timings)
		}
		return watchAll(ctx, directories, watch, o.Out)
	}
	var faults []error
	for _, s := range services {
		if err := directories[s.Name].SyncOnce(ctx, o.Out); err != nil {
			faults = append(faults, fmt.Errorf("syncing %s: %w", s.Name, err))
		}
	}
	return errors.Join(faults...)
}

// watching keeps one directory in sync and tells of it.
type watching func(*devspace.Directory, context.Context, io.Writer) error

// watchText tells people.
func watchText(timings bool) watching {
	return func(d *devspace.Directory, ctx context.Context, out io.Writer) error {
		return d.Watch(ctx, timings, out)
	}
}

// watchAll syncs all directories until ctx ends.
func watchAll(ctx context.Context, directories map[string]*devspace.Directory, watch watching, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out = devspace.SyncWriter(out)
	var wait sync.WaitGroup
	var mu sync.Mutex
	var faults []error
	for name, d := range directories {
		wait.Go(func() {
			err := watch(d, ctx, out)
			// One that cannot be watched must not go unseen among the others. One
			// that somebody took over has said so, and the others go on.
			if !errors.As(err, new(*devspace.TakenOverError)) {
				cancel()
			}
			if err != nil {
				mu.Lock()
				faults = append(faults, fmt.Errorf("watching for %s: %w", name, err))
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return errors.Join(faults...)
}
