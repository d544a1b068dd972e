package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/bench/netra/bed"
	"github.com/formicarium/formicarium/bench/netra/report"
)

func TestSettingsFaults(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"-rounds", "-1", "-duration", "1ms", "-patience", "-1s", "-attempts", "0", "-json", ""},
			[]string{"-rounds -1", "-duration 1ms", "-patience -1s", "-attempts 0", `-json ""`}},
		{[]string{"-rounds", "0"}, []string{"or 0 with -profile"}},
		{[]string{"-peers", "netra,squid"}, []string{`"squid"`, "haproxy"}},
		{[]string{"-rates", "1000,fast"}, []string{`"fast"`}},
		{[]string{"-stages", "load,lunch"}, []string{`"lunch"`, "churn"}},
		{[]string{"now"}, []string{`["now"]`}},
	} {
		_, err := readSettings(c.args, &bytes.Buffer{})
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v; does not name %q", c.args, err, want)
			}
		}
	}
}

func TestSettings(t *testing.T) {
	s, err := readSettings([]string{"-peers", "splice,netra", "-rates", "500", "-stages", "churn,memory"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{report.Direct, report.Netra, report.Splice}; !slices.Equal(s.Peers, want) {
		t.Errorf("peers %q, want %q", s.Peers, want)
	}
	if want := []string{"memory", "churn"}; !slices.Equal(s.Stages, want) || !slices.Equal(s.Rates, []int{500}) {
		t.Errorf("stages %q, rates %v", s.Stages, s.Rates)
	}
	// What was said is kept, in haste too.
	s, err = readSettings([]string{"-quick", "-rounds", "2"}, &bytes.Buffer{})
	if err != nil || s.Rounds != 2 || s.Duration != time.Second || s.Attempts != 1 {
		t.Errorf("-quick -rounds 2: %+v, %v", s, err)
	}
}

func TestSumOfAMetric(t *testing.T) {
	text := []byte("# TYPE a counter\na{x=\"1\"} 3\na{x=\"{}\"} 1e2\nab 7\na 5\nb 2\n")
	if got := sum(text, "a"); got != 108 {
		t.Errorf("sum = %d, want 108", got)
	}
}

// tiny are the settings of a run that is over in seconds.
func tiny(t *testing.T) settings {
	s := defaults()
	s.Quick = true
	s.hasten(nil)
	s.Duration, s.Churn = 200*time.Millisecond, 200*time.Millisecond
	s.Rates, s.HoldConns, s.AbortClients = []int{200}, 20, 5
	s.json = filepath.Join(t.TempDir(), "results.json")
	s.prefix = fmt.Sprintf("fmc-benchtest%d", os.Getpid())
	return s
}

// The benchmark runs from end to end with every peer that the machine has,
// notes every step, and leaves nothing behind.
func TestRun(t *testing.T) {
	s := tiny(t)
	s.profile = t.TempDir()
	var stdout, stderr bytes.Buffer
	if err := s.run(t.Context(), "test", &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	var results report.Results
	text, err := os.ReadFile(s.json)
	if err == nil {
		err = json.Unmarshal(text, &results)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, sample := range results.Samples {
		got[sample.Peer] = append(got[sample.Peer], sample.Step)
		if sample.Measurement != nil && (sample.Load.OK == 0 || sample.Load.BadStatus > 0) {
			t.Errorf("%s, %s: %+v", sample.Peer, sample.Step, sample.Load)
		}
		if tr := sample.Traces; sample.Peer == report.Netra && sample.Measurement != nil && (tr == nil || tr.Spans < tr.Requests || tr.Requests == 0) {
			t.Errorf("netra, %s: traces %+v, want a span for each request", sample.Step, tr)
		}
	}
	loads := []string{report.StepRate(200), report.StepClosed, report.StepChurn}
	for _, peer := range results.Peers {
		want := loads
		if peer != report.Direct {
			want = append([]string{report.StepIdle, report.StepHold, report.StepAbort}, loads...)
		}
		if !slices.Equal(got[peer], want) {
			t.Errorf("%s: steps %q, want %q", peer, got[peer], want)
		}
	}
	if !results.Complete || len(results.Commands[report.Netra]) < 2 || results.Versions["go"] == "" {
		t.Errorf("complete %v, commands %q, versions %q", results.Complete, results.Commands, results.Versions)
	}
	if !strings.Contains(stdout.String(), "| highest throughput, RPS |") {
		t.Errorf("no table in\n%s", &stdout)
	}
	for _, name := range []string{"netra-3000rps.pprof", "netra-closed.pprof"} {
		if info, err := os.Stat(filepath.Join(s.profile, name)); err != nil || info.Size() == 0 {
			t.Errorf("profile %s: %v", name, err)
		}
	}
	nothingLeft(t, s.prefix)
}

// A run that is interrupted takes its bed down.
func TestInterruption(t *testing.T) {
	s := tiny(t)
	s.Peers, s.Churn = []string{report.Direct, report.Netra}, time.Hour
	s.Stages = []string{"churn"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx, "test", &bytes.Buffer{}, &bytes.Buffer{}) }()
	waitFor(t, func() bool { _, err := os.Stat("/run/netns/" + s.prefix + "-app"); return err == nil })
	cancel()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
			t.Errorf("run = %v, want it to say that it was cancelled", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the run goes on")
	}
	nothingLeft(t, s.prefix)
}

// What a killed run has left is removed, its processes too, and two runs do not
// go on at once.
func TestLeftovers(t *testing.T) {
	s := tiny(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := build(t.Context(), "../..", "test", dir); err != nil {
		t.Fatal(err)
	}
	settings := bed.Settings{Prefix: s.prefix, Dir: dir, App: filepath.Join(dir, "app"), Client: filepath.Join(dir, "client")}
	b, err := bed.New(t.Context(), settings, nil) // and nobody closes it
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(s.prefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.run(t.Context(), "test", &bytes.Buffer{}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("with another run: %v", err)
	}
	unlock()
	found, err := removeLeftovers(s.prefix)
	if want := []string{s.prefix + "-app", s.prefix + "-cli"}; err != nil || !slices.Equal(found, want) {
		t.Errorf("found %q, %v; want %q", found, err, want)
	}
	waitFor(t, func() bool { return b.Alive() != nil })
	nothingLeft(t, s.prefix)
}

func nothingLeft(t *testing.T, prefix string) {
	t.Helper()
	for _, pattern := range []string{"/run/netns/" + prefix + "*", filepath.Join(os.TempDir(), prefix+"*")} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waiting took longer than 20 s")
		}
	}
}
