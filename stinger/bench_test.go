package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
	"github.com/formicarium/formicarium/stinger/gittest"
)

// BenchmarkSave changes one file of many, and has the built program pull it
// from a hub (git itself, on loopback) and restart a service that does
// nothing. It reports medians in milliseconds: of the request as the hub would
// see it, and of its parts. The commit is made beforehand.
//
//	go test -run - -bench Save -benchtime 30x ./stinger
func BenchmarkSave(b *testing.B) {
	for _, files := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("files=%d", files), func(b *testing.B) { benchmarkSave(b, files) })
	}
}

func benchmarkSave(b *testing.B, files int) {
	hub := gittest.New(b)
	random := rand.NewChaCha8([32]byte{})
	content := make([]byte, 1200) // 2,400 characters: 10,000 files have 24 MB
	name := func(i int) string { return fmt.Sprintf("pkg%d/sub%d/file%d.txt", i/1000, i/50%20, i) }
	for i := range files {
		random.Read(content)
		hub.Write(name(i), fmt.Sprintf("%x", content), 0o644)
	}
	hub.Commit()
	// As the hub's own repositories are after a push: in packs.
	hub.Git("gc", "-q")

	dir := b.TempDir()
	cmd := exec.Command(binary, "run", "--", "sleep", "1000")
	cmd.Env = append(os.Environ(), "GIT_URL="+hub.URL, "APP_PATH="+dir+"/app", "STINGER_STATE="+dir+"/state", "STINGER_PORT=0")
	var stderr testutil.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	started := regexp.MustCompile(`listening address=(\S+)(?s:.*)msg=pulled.* fetch=(\S+) apply=(\S+)`)
	for end := time.Now().Add(2 * time.Minute); !started.MatchString(stderr.String()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("no first pull:\n%s", stderr.String())
		}
	}
	first := started.FindStringSubmatch(stderr.String())
	b.Logf("first pull of %d files: fetch %s, apply %s; %s", files, first[2], first[3], memory(cmd.Process.Pid))

	var total, fetch, apply, restart []float64
	for i := 0; b.Loop(); i++ {
		hub.Write(name(i*7919%files), fmt.Sprintf("edit %d", i), 0o644)
		commit := hub.Commit()
		start := time.Now()
		response, err := http.Post("http://"+first[1]+"/pull", "application/json", strings.NewReader(`{"commit":"`+commit+`","restart":true}`))
		if err != nil {
			b.Fatal(err)
		}
		var result api.PullResult
		err = json.NewDecoder(response.Body).Decode(&result)
		response.Body.Close()
		if err != nil || result.Error != "" || result.Changed != 1 || !result.Restarted {
			b.Fatalf("pull = %+v, %v", result, err)
		}
		total = append(total, float64(time.Since(start).Microseconds())/1000)
		fetch, apply, restart = append(fetch, result.Timings.Fetch), append(apply, result.Timings.Apply), append(restart, result.Timings.Restart)
	}
	for unit, values := range map[string][]float64{"total-ms": total, "fetch-ms": fetch, "apply-ms": apply, "restart-ms": restart} {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], unit)
	}
	b.ReportMetric(0, "ns/op") // the commits are in it
	b.Log(memory(cmd.Process.Pid))
}

func memory(pid int) string {
	status, _ := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "status"))
	return strings.Join(regexp.MustCompile(`Vm(?:RSS|HWM):\s+\d+ kB`).FindAllString(string(status), -1), " ")
}
