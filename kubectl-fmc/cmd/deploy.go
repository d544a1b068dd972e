package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace/definition"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

type deployOptions struct {
	*app
	name, path string
	selection
	watch   bool
	timings bool
	timeout time.Duration

	takeOver bool
}

func newCmdDeploy(a *app) *cobra.Command {
	o := &deployOptions{app: a}
	c := &cobra.Command{
		Use:   "deploy [NAME [PATH]]",
		Short: "Run a service, or all of a definition file, from local directories",
		Long: `Pushes a service's directory to the devspace, applies its objects, and waits
until the pushed code runs. A deployed service is brought to its definition.

The definition is read from -f, else from fmc.yaml, fmc.yml or fmc.json in PATH
or the current directory. Without NAME all its services are deployed. PATH goes
before the definition's. Without a definition NAME and PATH are enough where the
files of PATH say what it needs, or with --image.

Without an image a service runs in a chamber, an image with scripts that build
and start the directory: ` + presets() + `.
The files choose it, or --chamber; --chamber configmap/NAME is one of your own.`,
		Example: `  kubectl fmc deploy
  kubectl fmc deploy orders ./orders --port 8080
  kubectl fmc deploy orders -f fmc.yaml ./orders -w
  kubectl fmc deploy orders ./orders --image python:3.13-slim --command "python3 app.py" --port 8080`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.complete(args)
			if o.timings && !o.watch {
				return errors.New("--timings: want --watch with it: a deploy alone has no saves to time")
			}
			services, err := o.services(o.name, o.path, o.ErrOut)
			if err != nil {
				return err
			}
			if o.watch && !slices.ContainsFunc(services, (*definition.Service).Synced) {
				return errors.New("--watch: none of the services has a path, so there is nothing to watch")
			}
			if err := o.furnish(services); err != nil {
				return err
			}
			return o.run(c.Context(), services)
		},
	}
	f := c.Flags()
	o.selection.addFlags(f)
	f.BoolVarP(&o.watch, "watch", "w", false, "Keep syncing after the deploy, until ^C")
	f.BoolVar(&o.timings, "timings", false, "With -w, print each hop of a save")
	addTakeOver(f, &o.takeOver)
	timeFlag(f, &o.timeout, "timeout", 3*time.Minute, "How long to wait until the services run; 0 waits for ever")
	return c
}

func (o *deployOptions) complete(args []string) {
	if len(args) > 0 {
		o.name = args[0]
	}
	if len(args) > 1 {
		o.path = args[1]
	}
}

func (o *deployOptions) run(ctx context.Context, services []*definition.Service) error {
	client, space, err := o.open(ctx)
	if err != nil {
		return err
	}
	if err := o.announce("devspace " + space); err != nil {
		return err
	}
	if err := o.furnishOwn(ctx, client, space, services); err != nil {
		return err
	}
	installation, err := client.Installation(ctx)
	if err != nil {
		return err
	}
	for _, s := range services {
		s.Installation = installation.Registry + ":" + installation.Tag
	}
	hub := client.Hub(space)
	defer hub.Close()
	directories, err := openDirectories(client, hub, space, services)
	if err != nil {
		return err
	}
	defer closeDirectories(directories)
	if err := claim(ctx, directories, devspace.Claim{TakeOver: o.takeOver, Once: !o.watch, Out: o.ErrOut}); err != nil {
		return err
	}
	if err := o.deployAll(ctx, client, space, services, directories); err != nil || !o.watch {
		return err
	}
	fmt.Fprintln(o.ErrOut, "watching for changes; ^C ends")
	return watchAll(ctx, directories, watchText(o.timings), o.Out)
}

// deployAll deploys the services side by side: one may need another to be ready.
func (o *deployOptions) deployAll(ctx context.Context, client *devspace.Client, space string, services []*definition.Service, directories map[string]*devspace.Directory) error {
	ctx, cancel := limited(ctx, o.timeout)
	defer cancel()
	out := devspace.SyncWriter(o.ErrOut)
	faults := make([]error, len(services))
	var group errgroup.Group
	for i, s := range services {
		group.Go(func() error {
			var source devspace.Source
			if d := directories[s.Name]; d != nil {
				source = d
			}
			if faults[i] = client.Deploy(ctx, space, s, source, out); faults[i] != nil {
				faults[i] = fmt.Errorf("deploying %s: %w", s.Name, faults[i])
			}
			return nil
		})
	}
	_ = group.Wait() // the faults are gathered above
	return errors.Join(faults...)
}

// openDirectories opens those of the services that are synced, by the
// service's name.
func openDirectories(client *devspace.Client, hub *devspace.Hub, space string, services []*definition.Service) (map[string]*devspace.Directory, error) {
	opened := map[string]*devspace.Directory{}
	for _, s := range services {
		if !s.Synced() {
			continue
		}
		d, err := client.OpenDirectory(hub, devspace.DirectoryConfig{Path: s.Path, Service: s.Name, Devspace: space})
		if err != nil {
			closeDirectories(opened)
			return nil, err
		}
		opened[s.Name] = d
	}
	return opened, nil
}

func closeDirectories(directories map[string]*devspace.Directory) {
	for _, d := range directories {
		d.Close()
	}
}

// isDirectory reports what is wrong with a path that is to be synced.
func isDirectory(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("directory %s does not exist", path)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", path)
	}
	return nil
}

// absolute makes a path of the command line absolute.
func absolute(path string) (string, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w", path, err)
	}
	return full, nil
}

// words splits a command at spaces. Anything that needs quotes is for a
// definition file.
func words(command string) ([]string, error) {
	if strings.ContainsAny(command, `"'\`) {
		return nil, fmt.Errorf("--command=%q: quotes are not understood here: put command or start into a definition file", command)
	}
	return strings.Fields(command), nil
}
