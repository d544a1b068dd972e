package snapshot

import (
	"io/fs"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

// stat is what tells whether a file is still the one that was read.
type stat struct {
	size  int64
	mtime int64 // nanoseconds
	ctime int64 // nanoseconds; 0 where the system has none
	inode uint64
}

func newStat(info fs.FileInfo) stat {
	s := stat{size: info.Size(), mtime: info.ModTime().UnixNano()}
	s.ctime, s.inode = system(info)
	return s
}

// racy reports whether the file could have changed after now and still have
// this stat, because clocks of file systems tick slowly: 10 ms apart is the
// worst of Linux's own; those that keep whole seconds (or two) show by the
// zeros behind.
func (s stat) racy(now time.Time) bool {
	tick := 30 * time.Millisecond
	if s.mtime%int64(time.Second) == 0 {
		tick = 2100 * time.Millisecond
	}
	return max(s.mtime, s.ctime)+int64(tick) > now.UnixNano()
}

// modeOf returns the mode of a file in d that the file system has as seen. Where
// that keeps no executable bits, git's index says it, as it does to git; of a
// file that git does not track, whether it is a script.
func (d *directory) modeOf(name string, seen object.Mode, script bool) object.Mode {
	if seen == object.ModeLink || d.rules == nil || d.rules.KeepsModes() {
		return seen
	}
	if executable, tracked := d.rules.Executable(name); executable || !tracked && script {
		return object.ModeExecutable
	}
	return object.ModeFile
}

// emptied reports whether the file has no content since a moment ago.
func (e *entry) emptied() bool { return e.mode != object.ModeLink && e.stat.size == 0 && e.racy }

func modeOf(info fs.FileInfo) object.Mode {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return object.ModeLink
	case info.Mode()&0o100 != 0:
		return object.ModeExecutable
	}
	return object.ModeFile
}
