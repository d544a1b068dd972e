package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// BenchmarkMemory prints, as one line of JSON, what Stinger's process has in
// memory (KiB): at rest with a small tree, after a tree of 10,000 files and 24 MB,
// and after 1,000 saves in that.
//
//	go test -run - -bench Memory -benchtime 1x ./stinger
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		figures := map[string]map[string]int{}
		p := start(b, map[string]string{"f": ""}, nil, "--", "sleep", "1000")
		p.ready()
		figures["idle"] = p.settledMemory()

		random := rand.NewChaCha8([32]byte{})
		content := make([]byte, 1200)
		name := func(i int) string { return fmt.Sprintf("pkg%d/sub%d/file%d.txt", i/1000, i/50%20, i) }
		for i := range 10_000 {
			random.Read(content)
			p.hub.Write(name(i), fmt.Sprintf("%x", content), 0o644)
		}
		p.pullNow(10_000)
		figures["10,000 files"] = p.settledMemory()

		for i := range 1000 {
			p.hub.Write(name(i*7919%10_000), fmt.Sprintf("edit %d", i), 0o644)
			p.pullNow(1)
		}
		figures["1,000 saves"] = p.settledMemory()
		text, err := json.Marshal(figures)
		if err != nil {
			b.Fatal(err)
		}
		fmt.Printf("%s\n", text)
		b.ReportMetric(float64(figures["1,000 saves"]["rss"]), "KiB-rss")
		b.ReportMetric(0, "ns/op") // the commits are in it
	}
}

func (p *program) pullNow(changed int) {
	p.Helper()
	var result api.PullResult
	p.call("POST", "/pull", `{"commit":"`+p.hub.Commit()+`"}`, &result)
	if result.Error != "" || result.Changed != changed {
		p.Fatalf("pull = %+v, want %d changed", result, changed)
	}
}

var memoryLine = regexp.MustCompile(`(?:Vm|Rss)(RSS|HWM|Anon|File):\s+(\d+) kB`)

// settledMemory returns what the kernel counts, when the runtime has had the
// time to give back what it does not need.
func (p *program) settledMemory() map[string]int {
	p.Helper()
	time.Sleep(5 * time.Second)
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		p.Fatal(err)
	}
	figures := map[string]int{}
	for _, m := range memoryLine.FindAllStringSubmatch(string(status), -1) {
		figures[strings.ToLower(m[1])], _ = strconv.Atoi(m[2])
	}
	return figures
}
