package watch

import (
	"os"
	"time"
)

const (
	// gitPause is for how long git may change nothing before a batch is handed
	// over although git is not done: it may wait for its user, as `git commit -a`
	// does for a message.
	gitPause = 200 * time.Millisecond
	// gitHold bounds how long a batch is held back for git, and how old its lock
	// may be, by a clock that may be another: one that a git left that was killed is
	// for nothing.
	gitHold = 10 * time.Second
)

// gitAtWork reports whether git is about to change more of the directory's files.
// It holds its index's lock from before the first until after the last, in a
// checkout, merge, rebase, stash or pull. What is there in between is no version
// of anybody's: half of one branch and half of another.
func (w *watcher) gitAtWork(now time.Time) bool {
	if w.outside.index == "" || now.Sub(w.last) >= gitPause || now.Sub(w.first) >= gitHold {
		return false
	}
	lock, err := os.Lstat(w.outside.index + ".lock")
	return err == nil && now.Sub(lock.ModTime()).Abs() < gitHold
}
