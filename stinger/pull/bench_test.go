package pull

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/formicarium/formicarium/stinger/gittest"
)

// BenchmarkFirstPull pulls 5,000 files of 2,400 characters into an empty
// directory.
func BenchmarkFirstPull(b *testing.B) {
	hub := gittest.New(b)
	random := rand.NewChaCha8([32]byte{})
	content := make([]byte, 1200)
	for i := range 5000 {
		random.Read(content)
		hub.Write(fmt.Sprintf("pkg%d/sub%d/file%d.txt", i/1000, i/50%20, i), fmt.Sprintf("%x", content), 0o644)
	}
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
