package proxy

import "golang.org/x/sys/unix"

// unsentBytes returns how many bytes the other end has not acknowledged.
func unsentBytes(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}
