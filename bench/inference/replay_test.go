package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/netra/trace"
)

// TestNoTwoUsersAreMixed holds what netra promises: a call that it says to be
// inferred is one of the request that it is joined to.
func TestNoTwoUsersAreMixed(t *testing.T) {
	const requests = 60
	for _, s := range scenarios {
		for _, n := range levels {
			t.Run(fmt.Sprintf("%s, %d in flight", s.name, n), func(t *testing.T) {
				t.Parallel()
				r, err := replay(t.Context(), s, n, requests, 1)
				if err != nil {
					t.Fatal(err)
				}
				if r.Caused.all() < requests {
					t.Errorf("%d calls of %d requests were noted", r.Caused.all(), requests)
				}
				if r.wrong() != 0 {
					t.Errorf("%d of %d calls were joined to a request of somebody else", r.wrong(), r.Caused.Inferred)
				}
				switch {
				case n > 1:
				case s.abandon == 0 && r.Right+r.RightLikely != r.Caused.all():
					t.Errorf("alone in flight, %d of %d calls were joined", r.Right+r.RightLikely, r.Caused.all())
				case r.Right == 0: // those of the first request
					t.Error("alone in flight, no call was sure to be joined")
				}
				if s.timer > 0 && r.Timer.all() == 0 || s.after && r.After.all() == 0 {
					t.Errorf("the application did nothing on its own: %+v", r)
				}
			})
		}
	}
}

// TestTruthFindsFaults proves that a wrong parent is noted as one.
func TestTruthFindsFaults(t *testing.T) {
	w := &world{
		requests: map[int]string{1: spanID(11), 2: spanID(12)},
		calls: map[string]cause{spanID(21): {1, causeRequest}, spanID(22): {2, causeRequest}, spanID(23): {2, causeRequest},
			spanID(24): {2, causeRequest}, spanID(25): {2, causeAfter}},
		spans: map[string]trace.Span{},
	}
	for id, parent := range map[uint64]uint64{21: 11, 22: 11, 23: 0, 24: 12, 25: 11} {
		link := trace.LinkInferred
		switch {
		case parent == 0:
			link = trace.LinkAmbiguous
		case id > 23:
			link = trace.LinkLikely
		}
		w.Export(trace.Span{Context: trace.Context{Span: id, Parent: parent}, Tags: []trace.Tag{{Key: "netra.link", Value: string(link)}}})
	}
	r := row{Scenario: "s", InFlight: 2}
	if err := w.judge(&r); err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := writeTable(&table, []row{r}); err != nil {
		t.Fatal(err)
	}
	if want := "| s | 2 | 4 | 0.500 | 0.250 | 0.250 | 0.000 | 0.500 | 0.500 | 0.500 | – | 0, 1 of 1 |\n"; r.wrong() != 1 || !strings.HasSuffix(table.String(), want) {
		t.Errorf("%d wrong, %s", r.wrong(), table.String())
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	var out bytes.Buffer
	if err := measure(t.Context(), []string{"-requests", "0"}, nil, &out, &out); err == nil || !strings.Contains(err.Error(), "-requests: 0") {
		t.Errorf("the error is %v", err)
	}
}
