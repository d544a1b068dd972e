//go:build !unix

package ignore

const nonblocking = 0
