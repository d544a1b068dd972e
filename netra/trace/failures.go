package trace

import (
	"log/slog"
	"sync"
	"time"
)

// errorInterval is how often at most an exporter's errors are logged: a back end
// that is down fails every second.
const errorInterval = 30 * time.Second

// failures logs an exporter's errors, at most once per errorInterval.
type failures struct {
	logger *slog.Logger

	mu     sync.Mutex
	last   time.Time
	missed int
}

// Error logs the message, or counts it where the last one is too recent.
func (f *failures) Error(message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); f.last.IsZero() || now.Sub(f.last) >= errorInterval {
		f.logger.Warn("exporting spans", "error", message, "not logged since the last", f.missed)
		f.last, f.missed = now, 0
		return
	}
	f.missed++
}
