package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/formicarium/formicarium/bench/sync/relay"
	"github.com/formicarium/formicarium/bench/sync/report"
	"github.com/formicarium/formicarium/bench/sync/tree"
)

// measureSize measures all that is measured at every size.
func measureSize(ctx context.Context, s settings, st *stage, results *report.Results, files int) (err error) {
	b := &bed{settings: s, stage: st, results: results, files: files, label: report.Label(files)}
	defer func() { err = errors.Join(err, b.close(context.WithoutCancel(ctx))) }()
	st.say("%d files: pods", files)
	if err := b.open(ctx); err != nil {
		return err
	}
	st.say("%d files: first transfer", files)
	if err := b.first(ctx, st.Kubeconfig); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"saves", func() error { return b.saves(ctx, s.Rounds, false, report.Content, report.Process) }},
		{"saves by rename", func() error { return b.saves(ctx, s.Few, true, report.ByRename, report.ByRenameProcess) }},
		{"new, renamed and deleted files", func() error { return b.small(ctx) }},
		{"bursts", func() error { return b.bursts(ctx) }},
		{"idle", func() error { return b.idle(ctx) }},
		{"comparing", func() error { return b.compare() }},
	} {
		st.say("%d files: %s", files, step.what)
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// measureBranch measures what a change of git's branch costs that touches an
// eighth of the files.
func measureBranch(ctx context.Context, s settings, st *stage, results *report.Results) (err error) {
	b := &bed{settings: s, stage: st, results: results, files: s.Branch, label: report.Label(s.Branch)}
	defer func() { err = errors.Join(err, b.close(context.WithoutCancel(ctx))) }()
	st.say("%d files, two branches", s.Branch)
	if err := b.open(ctx); err != nil {
		return err
	}
	wants := map[string][2][]tree.Want{}
	for _, side := range b.sides {
		if wants[side.name], err = branches(ctx, side.dir, s.Branch); err != nil {
			return err
		}
	}
	if err := b.first(ctx, st.Kubeconfig); err != nil {
		return err
	}
	err = b.turns(ctx, s.Few, func(side *side, i int) error {
		to := (i + 1) % 2
		return b.burst(ctx, side, report.Branch, func() ([]tree.Want, error) {
			return wants[side.name][to], git(ctx, side.dir, "checkout", "-q", branchNames[to])
		})
	})
	if err != nil {
		return err
	}
	return b.compare()
}

var branchNames = [2]string{"one", "two"}

// branches makes the directory a git repository with two branches, goes to the
// first, and returns what each has in the files that differ.
func branches(ctx context.Context, dir string, files int) (wants [2][]tree.Want, err error) {
	commit := []string{"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-a", "-m"}
	for _, args := range [][]string{{"init", "-q", "-b", branchNames[0]}, {"config", "gc.auto", "0"}, {"add", "."}, append(commit, "one"), {"checkout", "-q", "-b", branchNames[1]}} {
		if err := git(ctx, dir, args...); err != nil {
			return wants, err
		}
	}
	for i := 0; i < files; i += 8 {
		name := tree.Name(i)
		before, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return wants, err
		}
		after, err := tree.Edited(dir, name, "two")
		if err != nil {
			return wants, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), after, 0o644); err != nil {
			return wants, err
		}
		wants[0] = append(wants[0], tree.WantText(name, before))
		wants[1] = append(wants[1], tree.WantText(name, after))
	}
	if err := git(ctx, dir, append(commit, "two")...); err != nil {
		return wants, err
	}
	return wants, git(ctx, dir, "checkout", "-q", branchNames[0])
}

func git(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running git %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// tripFiles is the size at which the longer way is measured.
const tripFiles = 10000

// measureTrip measures saves whose way to the API server is longer.
func measureTrip(ctx context.Context, s settings, st *stage, results *report.Results) (err error) {
	b := &bed{settings: s, stage: st, results: results, files: tripFiles, label: report.LabelTrip(s.Trip)}
	kubeconfig, stop, err := st.farther(s.Trip)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	defer func() { err = errors.Join(err, b.close(context.WithoutCancel(ctx))) }()
	st.say("%d files, %s farther away", tripFiles, s.Trip)
	if err := b.open(ctx); err != nil {
		return err
	}
	if err := b.first(ctx, kubeconfig); err != nil {
		return err
	}
	if err := b.saves(ctx, s.Rounds, false, report.Content, report.Process); err != nil {
		return err
	}
	return b.compare()
}

// farther starts a relay to the API server and writes a kubeconfig that leads
// through it.
func (st *stage) farther(trip time.Duration) (path string, stop func() error, err error) {
	config, err := clientcmd.LoadFromFile(st.Kubeconfig)
	if err != nil {
		return "", nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	server, err := url.Parse(st.config.Host)
	if err != nil {
		return "", nil, fmt.Errorf("reading the API server's address: %w", err)
	}
	port := server.Port()
	if port == "" {
		port = "443"
	}
	r, err := relay.Listen(server.Hostname()+":"+port, trip)
	if err != nil {
		return "", nil, err
	}
	for _, cluster := range config.Clusters {
		if cluster.Server == st.config.Host {
			cluster.Server = "https://" + r.Address()
			cluster.TLSServerName = server.Hostname()
		}
	}
	path = filepath.Join(st.folder, "farther")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", nil, errors.Join(err, r.Close())
	}
	return path, r.Close, nil
}
