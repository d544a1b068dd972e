package report

import (
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
)

func TestTables(t *testing.T) {
	r := New(nil)
	for i := range 20 {
		r.Add(Label(10000), Content, Plugin, time.Duration(30+i)*time.Millisecond)
		r.Add(Label(10000), Content, Tar, time.Duration(10+i)*time.Millisecond)
	}
	r.Add(Label(10000), NewDirs, Plugin, 251*time.Millisecond)
	r.Add(Label(10000), Delete, Plugin, 20*time.Millisecond)
	r.Add(Label(10000), Delete, Plugin, -1)
	r.AddProcessor(Label(10000), Plugin, 10*time.Millisecond)
	r.AddProcessor(Label(10000), Plugin, 0)
	r.SetUsage(Label(10000), Plugin, 0.001, 48)
	r.SetEqual(Label(10000), Plugin, true)
	r.AddHops(Label(10000), devspace.SyncRecord{
		Kind: "synced", Hops: &devspace.SyncHops{Watch: 5, Total: 20},
		Outcomes: []api.Outcome{{Millis: 12, Result: api.PullResult{Timings: api.Timings{Fetch: 3}}}},
	})
	r.AddHops(Label(10000), devspace.SyncRecord{Kind: "notice"})
	r.AddDisk(DiskNode, 20*time.Microsecond)
	r.AddDisk(DiskNode, 680*time.Microsecond)
	var b strings.Builder
	if err := r.WriteTables(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| save → new content | 10000 files | 39.0 | 48.0 | 19.0 | 28.0 | 2.05 | 60.0 / 120 | yes |\n",
		"| 200 files in new directories | 10000 files | 251 | 251 | – | – | – | 250 | no |\n",
		"| delete | 10000 files | 20.0 (1 never) | 20.0 | – | – | – | 60.0 / 120 | no |\n",
		"| fmc | 10000 files | 5.0 | 0.0010 | 48.0 | yes |\n",
		"| 10000 files | 5.0 | 0.0 | 0.0 | 0.0 | 0.0 | 12.0 | 3.0 | 0.0 | 0.0 | 0.0 | 20.0 |\n",
		"making a file, ms, on the disk of the node: 0.020 (0.020 to 0.680)\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
}
