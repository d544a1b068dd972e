//go:build unix

package ignore

import "syscall"

// nonblocking keeps an open from waiting for a named pipe's other end.
const nonblocking = syscall.O_NONBLOCK
