package report

import (
	"math"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/bench/netra/bed"
	"github.com/formicarium/formicarium/bench/netra/load"
)

// at makes a load's sample: CPU is of the sidecar, in µs per request, p99 in µs.
func at(round int, peer, step string, cpu, p99, rate float64) Sample {
	return Sample{Round: round, Peer: peer, Step: step, Measurement: &bed.Measurement{
		SidecarCPU: cpu * 1000 / 1e6, Memory: bed.Memory{Peak: 10 << 10},
		Load: &load.Result{Sent: 1000, OK: 1000, Rate: rate, Service: load.Latency{P99: p99}},
	}}
}

func rowOf(t *testing.T, rows []Row, prefix string) Row {
	t.Helper()
	for _, r := range rows {
		if strings.HasPrefix(r.Figure, prefix) {
			return r
		}
	}
	t.Fatalf("no row begins with %q", prefix)
	return Row{}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   series
		want Value
	}{
		{series{0: 3}, Value{3, 3, 3, 1}},
		{series{0: 3, 1: 1}, Value{2, 1, 3, 2}},
		{series{0: 9, 2: 1, 5: 4}, Value{4, 1, 9, 3}},
	} {
		if got := *c.in.value(); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.in, got, c.want)
		}
	}
	if v := (series{}).value(); v != nil {
		t.Errorf("of nothing: %+v", v)
	}
}

// Ratios are taken within rounds: a slow round is slow for both. Here netra's
// median is above the peer's, but it is better in two rounds of three.
func TestRatiosAreWithinRounds(t *testing.T) {
	var all []Sample
	for round, cpu := range [][2]float64{{60, 61}, {30, 20}, {62, 63}} {
		all = append(all, at(round, Netra, StepRate(3000), cpu[0], 0, 0), at(round, Splice, StepRate(3000), cpu[1], 0, 0))
	}
	r := rowOf(t, Judge(all), "CPU per request")
	if r.Verdict != "bar met, aim not measured" || r.Ratios[Splice].Median >= 1 {
		t.Errorf("%q with the ratio %+v", r.Verdict, r.Ratios[Splice])
	}
	// A round that only one of them has is nobody's.
	all = append(all, at(7, Netra, StepRate(3000), 900, 0, 0))
	if v := rowOf(t, Judge(all), "CPU per request").Ratios[Splice]; v.Rounds != 3 {
		t.Errorf("the ratio is of %d rounds, want 3", v.Rounds)
	}
}

func TestAddedLatency(t *testing.T) {
	for _, c := range []struct {
		netra, haproxy float64
		want           Verdict
	}{
		{300, 310, "aim met"},
		{310, 300, "bar met"},
		{449, 0, "bar met, aim not measured"},
		{451, 500, "bar missed"},
		{0, 300, "bar not measured"},
	} {
		all := []Sample{at(0, Direct, StepRate(1000), 0, 100, 0)}
		if c.netra > 0 {
			all = append(all, at(0, Netra, StepRate(1000), 50, c.netra, 0))
		}
		if c.haproxy > 0 {
			all = append(all, at(0, HAProxy, StepRate(1000), 50, c.haproxy, 0))
		}
		r := rowOf(t, Judge(all), "added p99")
		if r.Verdict != c.want {
			t.Errorf("netra %g, haproxy %g: %q, want %q", c.netra, c.haproxy, r.Verdict, c.want)
		}
		if v := r.Values[Netra]; v != nil && math.Abs(v.Median-(c.netra-100)/1e3) > 1e-9 {
			t.Errorf("netra %g: it adds %g ms", c.netra, v.Median)
		}
	}
}

func TestThroughput(t *testing.T) {
	for rate, want := range map[float64]Verdict{50: "aim met", 45: "aim met", 40: "bar met", 39: "bar missed"} {
		all := []Sample{at(0, Netra, StepClosed, 0, 0, rate), at(0, Splice, StepClosed, 0, 0, 40), at(0, HAProxy, StepClosed, 0, 0, 45)}
		if got := rowOf(t, Judge(all), "highest").Verdict; got != want {
			t.Errorf("%g: %q, want %q", rate, got, want)
		}
	}
}

func TestMemory(t *testing.T) {
	for mib, want := range map[int]Verdict{7: "aim met", 9: "bar met", 10: "bar missed"} {
		all := []Sample{{Peer: Netra, Step: StepIdle, Idle: &bed.Memory{RSS: mib << 10}}}
		if got := rowOf(t, Judge(all), "RSS, idle").Verdict; got != want {
			t.Errorf("%d MiB idle: %q, want %q", mib, got, want)
		}
	}
	for _, c := range []struct {
		clients, peak int
		want          Verdict
	}{{200, 9 << 10, "aim met"}, {200, 17 << 10, "bar met"}, {200, 19 << 10, "bar missed"}, {20, 9 << 10, "bar not measured"}} {
		all := []Sample{{Peer: Netra, Step: StepAbort, Abort: &Abort{
			Clients: c.clients, Bytes: 20 << 20, Before: bed.Memory{RSS: 8 << 10}, After: bed.Memory{Peak: c.peak},
		}}}
		if got := rowOf(t, Judge(all), "growth").Verdict; got != c.want {
			t.Errorf("%d clients, peak %d KiB: %q, want %q", c.clients, c.peak, got, c.want)
		}
	}
}

func TestHeldConnections(t *testing.T) {
	hold := func(conns, rss, threads, descriptors int) []Sample {
		return []Sample{{Peer: Netra, Step: StepHold, Hold: &Hold{
			Conns: conns, Before: bed.Memory{RSS: 8 << 10, Threads: 7, Descriptors: 12},
			Held: bed.Memory{RSS: rss << 10, Threads: 7 + threads, Descriptors: 12 + descriptors},
		}}}
	}
	for _, c := range []struct {
		all                         []Sample
		memory, threads, descriptor Verdict
	}{
		{hold(2000, 16, 3, 4001), "aim met", "bar met", "bar met"},
		{hold(2000, 20, 20, 4200), "bar met", "bar missed", "bar missed"},
		{hold(2000, 21, 2000, 6000), "bar missed", "bar missed", "bar missed"},
		{hold(1999, 10, 0, 3998), "bar not measured", "bar not measured", "bar not measured"},
	} {
		rows := Judge(c.all)
		got := [3]Verdict{rowOf(t, rows, "RSS with").Verdict, rowOf(t, rows, "threads").Verdict, rowOf(t, rows, "descriptors").Verdict}
		if want := [3]Verdict{c.memory, c.threads, c.descriptor}; got != want {
			t.Errorf("%+v: %q, want %q", c.all[0].Hold, got, want)
		}
	}
}

func TestChurn(t *testing.T) {
	churn := func(peer string, target, rate float64, seconds, failed int) Sample {
		s := at(0, peer, StepChurn, 0, 0, rate)
		s.Load.TargetRate, s.Load.Errors, s.Seconds = target, failed, float64(seconds)
		return s
	}
	for name, c := range map[string]struct {
		all  []Sample
		want Verdict
	}{
		"as direct":             {[]Sample{churn(Direct, 3000, 3000, 60, 0), churn(Netra, 3000, 2999, 60, 0)}, "aim met"},
		"without direct":        {[]Sample{churn(Netra, 3000, 2999, 60, 0)}, "bar met, aim not measured"},
		"one failed":            {[]Sample{churn(Direct, 3000, 3000, 60, 0), churn(Netra, 3000, 2999, 60, 1)}, "bar missed"},
		"all late":              {[]Sample{churn(Direct, 3000, 3000, 60, 0), churn(Netra, 3000, 2500, 72, 0)}, "bar missed"},
		"for ten seconds":       {[]Sample{churn(Direct, 3000, 3000, 10, 0), churn(Netra, 3000, 3000, 10, 0)}, "bar not measured"},
		"only 500":              {[]Sample{churn(Direct, 500, 500, 60, 0), churn(Netra, 500, 500, 60, 0)}, "bar not measured"},
		"nothing was measured":  {nil, "bar not measured"},
		"nobody had an answer":  {[]Sample{{Peer: Netra, Step: StepChurn, Measurement: &bed.Measurement{Seconds: 60, Load: &load.Result{TargetRate: 3000, ConnErrors: 180_000}}}}, "bar missed"},
		"direct did worse, too": {[]Sample{churn(Direct, 3000, 2000, 60, 9), churn(Netra, 3000, 3000, 60, 0)}, "aim met"},
	} {
		if got := rowOf(t, Judge(c.all), "of new connections").Verdict; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.0623: "0.062", -0.0623: "-0.062", 1.234: "1.23", 72.25: "72.2", 999.9: "1000", 25150: "25,150", 0.9996: "1.000", 1234567: "1,234,567", -1500: "-1,500"} {
		if got := number(v); got != want {
			t.Errorf("number(%g) = %q, want %q", v, got, want)
		}
	}
}

// What a reader must know to judge the figures stands under them.
func TestPrint(t *testing.T) {
	all := []Sample{at(0, Direct, StepRate(1000), 0, 100, 0), at(0, Netra, StepRate(1000), 50, 200, 0)}
	all[1].OtherCores = 0.5
	all[1].Traces = &Traces{Requests: 10, Spans: 10, Dropped: 3}
	r := &Results{Peers: []string{Direct, Netra}, Samples: all, Rows: Judge(all), Figures: Further(all, []int{1000}), LeftOut: []string{"nginx is left out."}, Failures: []string{"it rained"}}
	var b strings.Builder
	if err := Print(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| added p99 at 1,000 RPS, ms | 0.100 | ≤ 0.35 | ≤ haproxy | bar met, aim not measured |  |",
		"| CPU per request at 1,000 RPS, µs | – | 50.0 |",
		"nginx is left out.", "it rained", "dropped 3 of 10 spans", "1 of 2 loads were disturbed",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
