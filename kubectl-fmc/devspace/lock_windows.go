package devspace

import (
	"os"

	"golang.org/x/sys/windows"
)

// tryLock locks the file until it is closed, and tells whether nobody else has.
// The byte lies far behind the content, which others may read meanwhile.
func tryLock(file *os.File) bool {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(file.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: 1}) == nil
}
