package snapshot_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
)

const benchFiles = 10000

func BenchmarkTakeCold(b *testing.B) {
	isolate(b)
	dir := b.TempDir()
	generate(b, dir, benchFiles)
	for b.Loop() {
		take(b, open(b, dir))
	}
}

func BenchmarkTakeWarm(b *testing.B) {
	isolate(b)
	dir, cache := b.TempDir(), b.TempDir()
	generate(b, dir, benchFiles)
	repo := openWith(b, dir, cache)
	take(b, repo)
	repo.Close()
	for b.Loop() {
		take(b, openWith(b, dir, cache))
	}
}

// editing returns a Repo with a snapshot of benchFiles files, and a function
// that makes the next edit.
func editing(b *testing.B) (*snapshot.Repo, func() string) {
	isolate(b)
	dir := b.TempDir()
	generate(b, dir, benchFiles)
	repo, n := open(b, dir), 0
	take(b, repo)
	return repo, func() string {
		n++
		name := nameOf(n * 37 % benchFiles)
		write(b, filepath.Join(dir, name), fmt.Sprintf("package shop // edit %d\n", n))
		return name
	}
}

func BenchmarkEditSnapshot(b *testing.B) {
	repo, edit := editing(b)
	for b.Loop() {
		takePaths(b, repo, edit())
	}
}

// BenchmarkEditPush reports the push's part of an edit, to a hub on loopback.
func BenchmarkEditPush(b *testing.B) {
	repo, edit := editing(b)
	for name, newHub := range map[string]func(testing.TB) hub{"tanajura": newHub, "git": newGitHub} {
		b.Run(name, func(b *testing.B) {
			pusher := newPusher(newHub(b), repo)
			pushTree(b, pusher, take(b, repo))
			var pushes []time.Duration
			for b.Loop() {
				snap := takePaths(b, repo, edit())
				pushes = append(pushes, pushTree(b, pusher, snap).Timings.Total)
			}
			slices.Sort(pushes)
			b.ReportMetric(float64(pushes[len(pushes)/2].Microseconds())/1000, "push-median-ms")
			b.ReportMetric(float64(pushes[0].Microseconds())/1000, "push-least-ms")
		})
	}
}

func BenchmarkFirstPush(b *testing.B) {
	isolate(b)
	dir := b.TempDir()
	generate(b, dir, benchFiles)
	repo := open(b, dir)
	snap := take(b, repo)
	for b.Loop() {
		b.StopTimer()
		pusher := newPusher(newHub(b), repo)
		b.StartTimer()
		result := pushTree(b, pusher, snap)
		b.ReportMetric(float64(result.Bytes), "pack-bytes")
	}
}
