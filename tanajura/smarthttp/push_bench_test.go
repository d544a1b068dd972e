package smarthttp_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// pushRequest is the body of a push of main from one commit to the next.
func (w worktree) pushRequest(from, to string) []byte {
	w.t.Helper()
	code, pack, errs := gitIn(w.t, w.dir, to+"\n^"+from+"\n", "pack-objects", "--thin", "--revs", "--stdout", "--delta-base-offset", "-q")
	if code != 0 {
		w.t.Fatal(errs)
	}
	command := from + " " + to + " refs/heads/main\x00 report-status side-band-64k agent=bench"
	return fmt.Appendf(nil, "%04x%s0000%s", len(command)+4, command, pack)
}

func post(t testing.TB, url string, body []byte) []byte {
	t.Helper()
	response, err := http.Post(url+"/git-receive-pack", "application/x-git-receive-pack-request", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte("ok refs/heads/main")) {
		t.Fatalf("status %d, error %v: %s", response.StatusCode, err, answer)
	}
	return answer
}

// BenchmarkPush is what a save costs the hub: one file changed of 10,000.
func BenchmarkPush(b *testing.B) {
	hub := hubtest.New(b)
	url := hub.CreateRepository("orders")
	w := newWorktree(b)
	last := w.fill(100, 100)
	w.git("push", "-q", url, "main")
	var requests [][]byte
	for i := range b.N {
		next := w.commit("d050/f050.txt", fmt.Sprint("save ", i))
		requests = append(requests, w.pushRequest(last, next))
		last = next
	}
	var advertise, last100 time.Duration
	b.ResetTimer()
	for i, request := range requests {
		start := time.Now()
		response, err := http.Get(url + "/info/refs?service=git-receive-pack")
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		advertise += time.Since(start)
		post(b, url, request)
		if i >= b.N-100 {
			last100 += time.Since(start)
		}
	}
	b.ReportMetric(float64(advertise.Microseconds())/1000/float64(b.N), "refs-ms/op")
	b.StopTimer()
	b.ReportMetric(float64((b.Elapsed()-advertise).Microseconds())/1000/float64(b.N), "push-ms/op")
	b.ReportMetric(float64(last100.Microseconds())/1000/float64(min(b.N, 100)), "last100-ms/op")
	hub.Close() // no collection runs from here on
	count := objectCount(w, filepath.Join(hub.Dir, "orders.git"))
	b.ReportMetric(float64(count["count"]), "loose-objects")
	b.ReportMetric(float64(count["packs"]), "packs")
}
