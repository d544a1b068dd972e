package pull

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/formicarium/formicarium/stinger/gittest"
)

// fill writes files of 2,400 characters into the hub's working tree.
func fill(hub *gittest.Hub, files int) {
	random := rand.NewChaCha8([32]byte{byte(files)})
	content := make([]byte, 1200)
	for i := range files {
		random.Read(content)
		hub.Write(fmt.Sprintf("pkg%d/sub%d/file%d.txt", i/1000, i/50%20, i), fmt.Sprintf("%x", content), 0o644)
	}
}

// BenchmarkSwitch pulls, into a directory of 10,000 files, a commit that
// changes many of them.
func BenchmarkSwitch(b *testing.B) {
	for _, changed := range []int{200, 5000} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			hub := gittest.New(b)
			fill(hub, 10_000)
			hub.Commit()
			dir := b.TempDir()
			p, err := Open(Options{URL: hub.URL, App: filepath.Join(dir, "app"), State: filepath.Join(dir, "state")})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			if _, err := p.Pull(context.Background(), ""); err != nil {
				b.Fatal(err)
			}
			fill(hub, changed) // with another content
			commit := hub.Commit()
			hub.Git("gc", "-q")
			r, err := p.Pull(context.Background(), commit)
			if err != nil || r.Changed != changed {
				b.Fatalf("pull = %+v, %v", r, err)
			}
			b.ReportMetric(r.Fetch.Seconds()*1000, "fetch-ms")
			b.ReportMetric(r.Apply.Seconds()*1000, "apply-ms")
			b.ReportMetric(0, "ns/op") // the commits are in it
		})
	}
}

// BenchmarkFirstPull pulls 5,000 files of 2,400 characters into an empty
// directory.
func BenchmarkFirstPull(b *testing.B) {
	hub := gittest.New(b)
	fill(hub, 5000)
	hub.Commit()
	hub.Git("gc", "-q")
	var fetch, apply float64
	for b.Loop() {
		dir := b.TempDir()
		p, err := Open(Options{URL: hub.URL, App: filepath.Join(dir, "app"), State: filepath.Join(dir, "state")})
		if err != nil {
			b.Fatal(err)
		}
		r, err := p.Pull(context.Background(), "")
		if err != nil || r.Changed != 5000 {
			b.Fatalf("pull = %+v, %v", r, err)
		}
		fetch, apply = fetch+r.Fetch.Seconds(), apply+r.Apply.Seconds()
		p.Close()
	}
	b.ReportMetric(fetch*1000/float64(b.N), "fetch-ms/op")
	b.ReportMetric(apply*1000/float64(b.N), "apply-ms/op")
}
