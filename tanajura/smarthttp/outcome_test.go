package smarthttp

import (
	"testing"

	"github.com/formicarium/formicarium/internal/api"
)

func TestTextLines(t *testing.T) {
	const commit = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
	for want, o := range map[string]api.Outcome{
		"p/app: running 1a2b3c4 (pid 17, 34 ms)\n":               {Result: api.PullResult{Commit: commit, PID: 17}, Millis: 34.2},
		"p/app: has 1a2b3c4 (3 ms)\n":                            {Result: api.PullResult{Commit: commit}, Millis: 3},
		"p/app: passed over for the newer 1a2b3c4 (9 ms)\n":      {Result: api.PullResult{Commit: commit, Superseded: true, PID: 1}, Millis: 9},
		"p/app: failed: building: exit 2 (5 ms)\n  a\n  b?[1m\n": {Result: api.PullResult{Error: "building:\nexit 2", Output: "a\nb\x1b[1m\n"}, Millis: 5},
		"p/app: not told: connection refused\n":                  {Error: "connection refused"},
	} {
		o.Pod, o.Container = "p", "app"
		if got := textLines(o); got != want {
			t.Errorf("textLines(%+v) = %q, want %q", o, got, want)
		}
	}
}
