package devspace

import (
	"fmt"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// doneText tells what a container did about its new code: ", built, restarted as
// pid 7"; nothing where it did nothing.
func doneText(r api.PullResult) string {
	text := ""
	if r.Built {
		text += ", built"
	}
	if r.Restarted {
		text += fmt.Sprintf(", restarted as pid %d", r.PID)
	}
	if r.Reloaded {
		text += ", reloaded"
	}
	if len(r.Signals) > 0 {
		text += fmt.Sprintf(", sent %s to pid %d", strings.Join(r.Signals, ", "), r.PID)
	}
	return text
}

// touched reports whether something was done to the process that may end it: one
// that does not handle a signal dies of it.
func touched(o api.Outcome) bool { return o.Result.Restarted || len(o.Result.Signals) > 0 }
