package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/push"
)

const tenths = 10

// tenth is a tenth of the saves, and the state after it. Times are in
// milliseconds.
type tenth struct {
	Saves    int     `json:"saves"`
	P50      float64 `json:"push_p50_ms"`
	P95      float64 `json:"push_p95_ms"`
	P99      float64 `json:"push_p99_ms"`
	Max      float64 `json:"push_max_ms"`
	Snapshot float64 `json:"snapshot_p50_ms"`
	Bytes    int64   `json:"repository_bytes"`
	Packs    int     `json:"packs"`
	Memory   int64   `json:"hub_resident_bytes"`
}

// saver makes saves.
type saver struct {
	dir    string
	files  int
	repo   *snapshot.Repo
	pusher *push.Pusher
	saves  int
}

func (r *results) measure(ctx context.Context, stderr io.Writer) (err error) {
	top, err := os.MkdirTemp("", "bench-hub-")
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(top)) }()
	hubDir := filepath.Join(top, "hub")
	hub, err := start(ctx, hubDir, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hub.stop()) }()
	s := &saver{dir: filepath.Join(top, "service"), files: r.Settings.Files}
	if err := s.generate(); err != nil {
		return fmt.Errorf("making the files: %w", err)
	}
	if s.repo, err = snapshot.Open(s.dir, snapshot.Options{CacheDir: filepath.Join(top, "cache"), Hub: hub.url, Service: "orders"}); err != nil {
		return err
	}
	defer s.repo.Close()
	s.pusher = push.New(push.Config{BaseURL: hub.url, Name: "orders", Source: s.repo, Create: true})
	snap, err := s.repo.Take(ctx)
	if err != nil {
		return err
	}
	first, err := s.pusher.Push(ctx, snap.Tree)
	if err != nil {
		return err
	}
	r.FirstMillis, r.FirstBytes = millis(first.Timings.Total), first.Bytes
	for i := range tenths {
		t, err := s.tenth(ctx, r.Settings.Saves*(i+1)/tenths)
		if err != nil {
			return err
		}
		if t.Memory, err = hub.memory(); err != nil {
			return err
		}
		t.look(filepath.Join(hubDir, "orders.git"))
		fmt.Fprintf(stderr, "%d saves: push p50 %.1f ms, %d packs, %.1f MB\n", t.Saves, t.P50, t.Packs, float64(t.Bytes)/1e6)
		r.Tenths = append(r.Tenths, t)
	}
	r.CloneMillis, err = clone(ctx, hub.url+"/orders.git", filepath.Join(top, "clone"))
	return err
}

// generate makes files of 0.8 to 4 kB in directories of 20.
func (s *saver) generate() error {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range s.files {
		if err := s.write(i, random.IntN(80), ""); err != nil {
			return err
		}
	}
	return nil
}

func (s *saver) name(i int) string {
	return fmt.Sprintf("src/p%02d/q%02d/file%05d.go", i/400, i/20%20, i)
}

func (s *saver) write(i, lines int, last string) error {
	path := filepath.Join(s.dir, s.name(i))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(uint64(i), 3))
	var text strings.Builder
	for range 20 + lines {
		fmt.Fprintf(&text, "func handler%d(request %x) error { return nil }\n", random.IntN(1000), random.Uint32())
	}
	return os.WriteFile(path, []byte(text.String()+last), 0o644)
}

// tenth makes saves until there have been so many.
func (s *saver) tenth(ctx context.Context, until int) (tenth, error) {
	t := tenth{Saves: until}
	var pushes, snapshots []time.Duration
	for ; s.saves < until; s.saves++ {
		// A developer stays with a few files for a while.
		i := (s.saves/50*37 + s.saves%3) % s.files
		if err := s.write(i, s.saves%60, fmt.Sprintf("// save %d\n", s.saves)); err != nil {
			return t, fmt.Errorf("making a save: %w", err)
		}
		snap, err := s.repo.TakePaths(ctx, []string{s.name(i)})
		if err != nil {
			return t, err
		}
		result, err := s.pusher.Push(ctx, snap.Tree)
		if err != nil {
			return t, err
		}
		pushes, snapshots = append(pushes, result.Timings.Total), append(snapshots, snap.Took)
	}
	slices.Sort(pushes)
	slices.Sort(snapshots)
	t.P50, t.P95, t.P99 = percentile(pushes, 50), percentile(pushes, 95), percentile(pushes, 99)
	t.Max, t.Snapshot = percentile(pushes, 100), percentile(snapshots, 50)
	return t, nil
}

// look notes the repository's size and packs.
func (t *tenth) look(bare string) {
	_ = filepath.WalkDir(bare, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // a collection has removed it
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			t.Bytes += info.Size()
		}
		if strings.HasSuffix(path, ".pack") {
			t.Packs++
		}
		return nil
	})
}

// clone fetches the branch's last commit as a pod's first start does.
func clone(ctx context.Context, url, dir string) (float64, error) {
	cmd := exec.CommandContext(ctx, "git", "clone", "-q", "--depth=1", "--no-checkout", url, dir)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0")
	begun := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("cloning: %w: %s", err, out)
	}
	return millis(time.Since(begun)), nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// percentile returns, in milliseconds, the smallest time that p of 100 do not
// exceed.
func percentile(sorted []time.Duration, p int) float64 {
	return millis(sorted[max(0, (len(sorted)*p+99)/100-1)])
}
