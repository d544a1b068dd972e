package snapshot

import (
	"io/fs"
	"syscall"
)

// system returns the time of a file's last change of any kind and its inode.
func system(info fs.FileInfo) (ctime int64, inode uint64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return st.Ctim.Nano(), st.Ino
}
