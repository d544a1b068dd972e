package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/formicarium/formicarium/bench/sync/report"
	"github.com/formicarium/formicarium/bench/sync/tree"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
)

// burstFiles is how many files a burst changes.
const burstFiles = 200

// bed is the sides of one size, and what is measured on them.
type bed struct {
	settings
	*stage
	results *report.Results
	files   int
	label   string // the row in the report
	sides   []*side
	random  *rand.Rand
	names   []int // files in the order in which they are edited
}

// open makes the directories and the pods.
func (b *bed) open(ctx context.Context) error {
	b.random = rand.New(rand.NewSource(7))
	b.names = b.random.Perm(b.files)
	names := []string{report.Plugin}
	if b.Tar {
		names = append(names, report.Tar)
	}
	for _, name := range names {
		s := &side{
			name: name, object: fmt.Sprintf("%s-%d", name, b.files), deployed: name == report.Plugin,
			dir:    filepath.Join(b.folder, name),
			client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 2}},
		}
		if _, err := tree.Make(s.dir, b.files); err != nil {
			return err
		}
		var err error
		if s.deployed {
			_, s.address, err = b.deploy(ctx, s.object)
		} else {
			s.address, err = b.plain(ctx, s.object)
		}
		if err != nil {
			return err
		}
		b.sides = append(b.sides, s)
	}
	return nil
}

// close ends the programs and removes the pods.
func (b *bed) close(ctx context.Context) error {
	var err error
	for _, s := range b.sides {
		if s.program != nil {
			err = errors.Join(err, s.program.stop())
		}
		err = errors.Join(err, b.remove(ctx, s.object, s.deployed))
	}
	return err
}

// sync starts a side's program.
func (b *bed) sync(ctx context.Context, s *side, kubeconfig string) (err error) {
	if s.deployed {
		s.program, err = b.start(ctx, kubeconfig, "kubectl-fmc", "sync", s.object, s.dir, "-n", space, "-o", "json")
	} else {
		s.program, err = b.start(ctx, kubeconfig, "bench-sync-tarloop", "-namespace", space, "-pod", s.object, s.dir)
	}
	return err
}

// first measures the transfer of the whole directory into a pod that has one
// file, from the start of the program.
func (b *bed) first(ctx context.Context, kubeconfig string) error {
	for _, s := range b.sides {
		want, err := stateOf(s.dir)
		if err != nil {
			return err
		}
		begun := time.Now()
		if err := b.sync(ctx, s, kubeconfig); err != nil {
			return err
		}
		took, err := s.equal(ctx, begun, want)
		if err != nil {
			return fmt.Errorf("the first transfer of %s: %w", s.name, err)
		}
		b.note(s, report.First, took)
		b.noteHops(ctx, s, report.First, 0)
		b.pause(ctx, time.Now())
	}
	return nil
}

func (b *bed) note(s *side, measure string, took time.Duration) {
	b.results.Add(b.label, measure, s.name, took)
}

// pause waits until a time after begun that is never the same.
func (b *bed) pause(ctx context.Context, begun time.Time) {
	wait := b.Pause + time.Duration(b.random.Int63n(int64(b.Pause/5+1)))
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(begun.Add(wait))):
	}
}

// next returns a file that was not edited yet, as long as there are such.
func (b *bed) next() string {
	i := b.names[0]
	b.names = append(b.names[1:], i)
	return tree.Name(i)
}

// turns has each side do the same, n times.
func (b *bed) turns(ctx context.Context, n int, do func(*side, int) error) error {
	for i := range n {
		for _, s := range b.sides {
			if err := ctx.Err(); err != nil {
				return err
			}
			begun := time.Now()
			if err := do(s, i); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			b.pause(ctx, begun)
		}
	}
	return nil
}

// saves measures edits and what they cost the programs.
func (b *bed) saves(ctx context.Context, n int, byRename bool, content, process string) error {
	return b.turns(ctx, n, func(s *side, _ int) error {
		before, err := s.program.processor()
		if err != nil {
			return err
		}
		_, records := s.program.since(0)
		saved, err := s.edit(ctx, b.next(), byRename)
		if err != nil {
			return err
		}
		b.note(s, content, saved.content)
		b.note(s, process, saved.process)
		time.Sleep(100 * time.Millisecond) // until the hub's answer is here, too
		after, err := s.program.processor()
		if err != nil {
			return err
		}
		b.results.AddProcessor(b.label, s.name, after-before)
		fresh, _ := s.program.since(records)
		for _, record := range fresh {
			b.results.AddHops(b.label, record)
		}
		return nil
	})
}

// small measures a new file, its renaming and its end.
func (b *bed) small(ctx context.Context) error {
	name := func(i int) string { return fmt.Sprintf("pkg00/mod00/new%d.go", i) }
	moved := func(i int) string { return fmt.Sprintf("pkg00/mod00/moved%d.go", i) }
	text := []byte("package new\n")
	steps := []struct {
		measure string
		change  func(s *side, i int) error
		so      func(s *side, i int) bool
	}{
		{report.New1, func(s *side, i int) error { return os.WriteFile(filepath.Join(s.dir, name(i)), text, 0o644) },
			func(s *side, i int) bool { return s.holds(name(i), text) }},
		{report.Rename, func(s *side, i int) error {
			return os.Rename(filepath.Join(s.dir, name(i)), filepath.Join(s.dir, moved(i)))
		}, func(s *side, i int) bool { return s.holds(moved(i), text) && s.lacks(name(i)) }},
		{report.Delete, func(s *side, i int) error { return os.Remove(filepath.Join(s.dir, moved(i))) },
			func(s *side, i int) bool { return s.lacks(moved(i)) }},
	}
	for i := range b.Few {
		for _, step := range steps {
			err := b.turns(ctx, 1, func(s *side, _ int) error {
				begun := time.Now()
				if err := step.change(s, i); err != nil {
					return err
				}
				b.note(s, step.measure, poll(ctx, begun, editMax, tick, func() bool { return step.so(s, i) }))
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// bursts measures many changes at once: rewritten, in new directories, gone.
func (b *bed) bursts(ctx context.Context) error {
	steps := []struct {
		measure string
		change  func(s *side, i int) func() ([]tree.Want, error)
	}{
		{report.Rewrite, func(s *side, _ int) func() ([]tree.Want, error) { return s.rewrite(b.several(burstFiles)) }},
		{report.NewDirs, func(s *side, i int) func() ([]tree.Want, error) { return s.grow(i) }},
		{report.Remove, func(s *side, i int) func() ([]tree.Want, error) { return s.shrink(i) }},
	}
	for i := range b.Few {
		for _, step := range steps {
			err := b.turns(ctx, 1, func(s *side, _ int) error {
				return b.burst(ctx, s, step.measure, step.change(s, i))
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// burst measures one change of many files, and how the plugin's time was spent.
func (b *bed) burst(ctx context.Context, s *side, measure string, change func() ([]tree.Want, error)) error {
	_, records := s.program.since(0)
	took, err := s.burst(ctx, change)
	if err != nil {
		return err
	}
	b.note(s, measure, took)
	b.noteHops(ctx, s, measure, records)
	return nil
}

// noteHops notes how the plugin's time was spent on what it told of after so many
// records.
func (b *bed) noteHops(ctx context.Context, s *side, measure string, records int) {
	if !s.deployed {
		return
	}
	var told []devspace.SyncRecord
	poll(ctx, time.Now(), 2*time.Second, longTick, func() bool { // the pod's answer may come after its files
		told, _ = s.program.since(records)
		return slices.ContainsFunc(told, func(r devspace.SyncRecord) bool { return r.Hops != nil })
	})
	for _, record := range told {
		b.results.AddHops(b.label+", "+measure, record)
	}
}

func (b *bed) several(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = b.next()
	}
	slices.Sort(names)
	return names
}

// idle measures what the programs take while nothing happens.
func (b *bed) idle(ctx context.Context) error {
	if b.Idle == 0 {
		return nil
	}
	before := map[*side]time.Duration{}
	for _, s := range b.sides {
		used, err := s.program.processor()
		if err != nil {
			return err
		}
		before[s] = used
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(b.Idle):
	}
	for _, s := range b.sides {
		used, err := s.program.processor()
		if err != nil {
			return err
		}
		peak, err := s.program.peak()
		if err != nil {
			return err
		}
		b.results.SetUsage(b.label, s.name, (used-before[s]).Seconds()/b.Idle.Seconds(), peak)
	}
	return nil
}

// compare notes which sides are equal in the end: the tar loop need not be.
func (b *bed) compare() error {
	for _, s := range b.sides {
		want, err := stateOf(s.dir)
		if err != nil {
			return err
		}
		_, body, err := s.get(contentPort, fmt.Sprintf("/sum?files=%d", want.files))
		if err != nil {
			return err
		}
		equal := string(body) == want.sum
		b.results.SetEqual(b.label, s.name, equal)
		if s.deployed && !equal {
			return fmt.Errorf("the pod's directory is not the local one in the end: want %d files, sum %s; has %q", want.files, want.sum, body)
		}
	}
	return nil
}
