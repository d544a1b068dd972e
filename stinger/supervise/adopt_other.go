//go:build unix && !linux

package supervise

import "context"

// Adopt does nothing: only Linux lets a process adopt its orphaned
// descendants; elsewhere process 1 reaps them.
func Adopt(context.Context) error { return nil }
