package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/formicarium/formicarium/internal/run"
	"github.com/spf13/cobra"
)

func newCmdGit(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "git ARGUMENTS…",
		Short: "Run git with the devspace's hub as fmc:NAME",
		Long: `Runs your git, in which fmc:NAME is the repository of service NAME on the
devspace's hub for as long as it runs. What you may do there is what the cluster
lets you; no token is written to a file, shown in a process list or known to git,
and a clone's remote stays fmc:NAME. Needs git 2.31 or newer.

Flags of kubectl fmc come before git's arguments; where the first of those is a
flag, put -- before it. What is pushed to branch main runs, until the next save
of a sync.`,
		Example: `  kubectl fmc git clone fmc:orders
  kubectl fmc git -n mine ls-remote fmc:orders
  kubectl fmc git -- -C orders push origin HEAD:main`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.git(c.Context(), args) },
	}
	c.Flags().SetInterspersed(false) // what follows the first argument is git's
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w: put -- before flags of git, as in kubectl fmc git -- -C orders push", err)
	})
	return c
}

// gitGrace is how long git has to end by itself after ^C, which reaches it too.
const gitGrace = 10 * time.Second

func (a *app) git(ctx context.Context, args []string) error {
	program, err := exec.LookPath("git")
	if err != nil {
		return fmt.Errorf("looking for git (install it, or put it on your PATH): %w", err)
	}
	client, space, err := a.open(ctx)
	if err != nil {
		return err
	}
	relay, err := client.RelayGit(space)
	if err != nil {
		return err
	}
	defer relay.Close()
	git := exec.CommandContext(ctx, program, args...)
	git.Stdin, git.Stdout, git.Stderr = a.In, a.Out, a.ErrOut
	git.Cancel = func() error { return git.Process.Signal(os.Interrupt) }
	git.WaitDelay = gitGrace
	if git.Env, err = relay.Env(os.Environ()); err != nil {
		return err
	}
	err = git.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return &run.ExitError{Code: exit.ExitCode()} // git has said why
	}
	if err != nil {
		return fmt.Errorf("running git: %w", err)
	}
	return nil
}
