package devspace

import (
	"testing"

	"github.com/formicarium/formicarium/internal/api"
)

func TestOutcomeTellsWhatWasDone(t *testing.T) {
	const commit = "1234567890123456789012345678901234567890"
	for want, result := range map[string]api.PullResult{
		"runs 1234567, 1 file (5 ms)":                                    {},
		"runs 1234567, 1 file, restarted as pid 7 (5 ms)":                {Restarted: true, PID: 7},
		"runs 1234567, 1 file, built, restarted as pid 7 (5 ms)":         {Built: true, Restarted: true, PID: 7},
		"runs 1234567, 1 file, reloaded, sent HUP, USR1 to pid 7 (5 ms)": {Reloaded: true, Signals: []string{"HUP", "USR1"}, PID: 7},
	} {
		result.Commit, result.Changed = commit, 1
		if got := outcomeText(api.Outcome{Result: result, Millis: 5}); got != want {
			t.Errorf("outcomeText(%+v) = %q, want %q", result, got, want)
		}
	}
}
