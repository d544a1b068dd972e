package snapshot_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/push"
)

// BenchmarkIdle reports the processor time that keeping a directory in sync
// takes while nothing changes, in 30 s: a check of the hub is in it, and the
// hub's own answer to that.
func BenchmarkIdle(b *testing.B) {
	isolate(b)
	dir, h := b.TempDir(), newHub(b)
	generate(b, dir, benchFiles)
	repo := open(b, dir)
	synced := make(chan struct{}, 1)
	go snapshot.Run(b.Context(), snapshot.Config{
		Repo:    repo,
		Pusher:  push.New(push.Config{BaseURL: h.url, Name: "orders", Source: repo, Create: true}),
		OnEvent: func(snapshot.Event) { synced <- struct{}{} },
	})
	<-synced
	var used time.Duration
	for b.Loop() {
		before := processorTime(b)
		time.Sleep(30 * time.Second)
		used += processorTime(b) - before
	}
	b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "cpu-ms/30s")
}

// processorTime is what this process and its children that ended have used.
func processorTime(b *testing.B) (total time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return total
}
