package main

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// What is measured is what it is said to be: the server answers each pod, with a
// patch or without.
func TestPodsAreAnswered(t *testing.T) {
	in, end := io.Pipe()
	out, told := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve("", in, told) }()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var r ready
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		review, err := p.review()
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(r, 2, review, p.injected)
		if err := c.check(t.Context()); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		times, err := c.open(t.Context(), 50, 2, 200*time.Millisecond)
		if err != nil || len(times) != 10 {
			t.Errorf("%s: %d answers to 10 reviews, %v", p.name, len(times), err)
		}
		c.injected = !c.injected
		if err := c.ask(t.Context()); err == nil {
			t.Errorf("%s: an answer of the other kind is taken", p.name)
		}
		c.close()
	}
	end.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTable(t *testing.T) {
	r := newResults(settings{Rate: 500})
	for round := range 3 {
		for i, p := range pods {
			r.Rounds = append(r.Rounds, row{Pod: p.name, P99: float64(1 + round + 2*i), PerSecond: 900})
		}
	}
	var out strings.Builder
	if err := writeTable(&out, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| does not ask | 0 | 0.00 | 2.00 |", "| netra | 0 | 0.00 | 4.00 | 0.000 | 900 | yes |", "| netra and stinger | 0 | 0.00 | 6.00 | 0.000 | 900 | no |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &out)
		}
	}
	times := []time.Duration{1, 2, 3, 4}
	if percentile(times, 50) != 2 || percentile(times, 99) != 4 || percentile(times[:1], 50) != 1 {
		t.Error("percentiles are wrong")
	}
}

func TestParseStat(t *testing.T) {
	busy, err := parseStat("cpu  100 20 30 4000 500 6 7 8 9 0\ncpu0 1 2 3 4\n")
	if err != nil || busy != 1710*time.Millisecond {
		t.Errorf("busy = %s, %v", busy, err)
	}
	for _, text := range []string{"", "cpu 1 2", "intr 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	before := usage{time.Unix(0, 0), 0, 0}
	if o := (usage{time.Unix(10, 0), 15 * time.Second, 5 * time.Second}).others(before); o != 1 {
		t.Errorf("others = %g, want 1", o)
	}
}
