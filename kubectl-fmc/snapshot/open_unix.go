//go:build unix

package snapshot

import (
	"os"
	"syscall"
)

// openFile opens a file to read it. It does not follow a symbolic link, and a
// named pipe does not make it wait: either may have taken the file's name.
func openFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}
