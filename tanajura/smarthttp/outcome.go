package smarthttp

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/formicarium/formicarium/internal/api"
)

// jsonLine is an outcome for programs.
func jsonLine(o api.Outcome) string {
	line, err := json.Marshal(o)
	if err != nil { // only a float that is no number could be at fault
		line, _ = json.Marshal(api.Outcome{Pod: o.Pod, Container: o.Container, Error: "encoding the outcome: " + err.Error()})
	}
	return string(line) + "\n"
}

// textLines is an outcome for people: one line, and the output of a failed
// build indented below.
//
//	orders-7c9f/app: running 1a2b3c4 (pid 17, 34 ms)
func textLines(o api.Outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s: ", o.Pod, o.Container)
	r := o.Result
	switch {
	case o.Error != "":
		fmt.Fprintf(&b, "not told: %s", oneLine(o.Error))
	case r.Error != "":
		fmt.Fprintf(&b, "failed: %s (%.0f ms)", oneLine(r.Error), o.Millis)
	case r.Superseded:
		fmt.Fprintf(&b, "passed over for the newer %s (%.0f ms)", short(r.Commit), o.Millis)
	case r.PID != 0:
		fmt.Fprintf(&b, "running %s (pid %d, %.0f ms)", short(r.Commit), r.PID, o.Millis)
	default:
		fmt.Fprintf(&b, "has %s (%.0f ms)", short(r.Commit), o.Millis)
	}
	b.WriteByte('\n')
	if output := strings.TrimRight(r.Output, "\n"); output != "" {
		for line := range strings.SplitSeq(output, "\n") {
			b.WriteString("  " + line + "\n")
		}
	}
	return strings.Map(printable, b.String())
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func short(id string) string { return id[:min(len(id), 7)] }

// printable keeps a build's output from driving the developer's terminal.
func printable(r rune) rune {
	if r != '\n' && r != '\t' && unicode.IsControl(r) {
		return '?'
	}
	return r
}
