package main

import (
	"fmt"
	"io"

	"github.com/formicarium/formicarium/netra/trace"
)

// row is the outcome of one load.
type row struct {
	Scenario string `json:"scenario"`
	InFlight int    `json:"in_flight"`
	Requests int    `json:"requests"`
	// Caused are the calls that a request caused before its answer.
	Caused links `json:"caused_by_a_request"`
	// Right are those of Caused that are said to be inferred, of the right
	// request, and RightLikely those that are said to be likely.
	Right       int `json:"right"`
	RightLikely int `json:"right_likely"`
	// Timer are the calls that the application makes on its own, After those
	// that a request caused but that are made after its answer: for neither is
	// there anything to be seen on the wire.
	Timer links `json:"by_a_timer"`
	After links `json:"after_the_answer"`
}

// links counts calls by what netra says of their parent.
type links struct {
	Inferred  int `json:"inferred"`
	Likely    int `json:"likely"`
	Ambiguous int `json:"ambiguous"`
	None      int `json:"none"`
}

func (l *links) add(link trace.Link) error {
	switch link {
	case trace.LinkInferred:
		l.Inferred++
	case trace.LinkLikely:
		l.Likely++
	case trace.LinkAmbiguous:
		l.Ambiguous++
	case trace.LinkNone:
		l.None++
	default:
		return fmt.Errorf("a call without any header is said to be joined by %q", link)
	}
	return nil
}

func (l links) all() int { return l.Inferred + l.Likely + l.Ambiguous + l.None }

// wrong returns how many calls are said to be inferred of a request that did not
// cause them. One made after the answer counts: its own request is in flight no
// more. A timer's does not: it is of no user.
func (r row) wrong() int { return r.Caused.Inferred - r.Right + r.After.Inferred }

// share writes a part of a whole, or a dash where there is no whole.
func share(part, whole int) string {
	if whole == 0 {
		return "–"
	}
	return fmt.Sprintf("%.3f", float64(part)/float64(whole))
}

// writeTable writes the rows as a table in Markdown.
func writeTable(w io.Writer, rows []row) error {
	if _, err := fmt.Fprint(w, "| load | in flight | calls | inferred | likely | ambiguous | none | precision, inferred | precision, likely | recall | timer's: inferred, likely of | after the answer: inferred, likely of |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"); err != nil {
		return err
	}
	for _, r := range rows {
		all := r.Caused.all()
		_, err := fmt.Fprintf(w, "| %s | %d | %d | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Scenario, r.InFlight, all,
			share(r.Caused.Inferred, all), share(r.Caused.Likely, all), share(r.Caused.Ambiguous, all), share(r.Caused.None, all),
			share(r.Right, r.Caused.Inferred+r.After.Inferred), share(r.RightLikely, r.Caused.Likely+r.After.Likely),
			share(r.Right+r.RightLikely, all), outOf(r.Timer), outOf(r.After))
		if err != nil {
			return err
		}
	}
	return nil
}

func outOf(l links) string {
	if l.all() == 0 {
		return "–"
	}
	return fmt.Sprintf("%d, %d of %d", l.Inferred, l.Likely, l.all())
}
