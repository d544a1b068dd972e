//go:build !linux

package proxy

import (
	"errors"
	"net/netip"
)

// The redirection that a Proxy serves exists on Linux only. Elsewhere the
// package builds, so that the whole of the project can be worked on, and New
// says so.
var errNotLinux = errors.New("netra runs on Linux only")

const (
	canRead = 1 << iota
	canWrite
	hasHung
	isBroken
)

type event struct {
	Fd, Pad int32
	Events  uint32
}

type poller struct{ bell int }

func newPoller() (*poller, error) { return nil, errNotLinux }

func (*poller) add(int, int32) error   { return errNotLinux }
func (*poller) wait() ([]event, error) { return nil, errNotLinux }
func (*poller) glance() []event        { return nil }
func (*poller) ring()                  {}
func (*poller) silence()               {}
func (*poller) close()                 {}

func readSocket(int, []byte) (int, error)  { return 0, errNotLinux }
func writeSocket(int, []byte) (int, error) { return 0, errNotLinux }

func acceptSocket(int) (int, netip.AddrPort, error) { return -1, netip.AddrPort{}, errNotLinux }
func connectSocket(netip.AddrPort, netip.Addr) (int, error) {
	return -1, errNotLinux
}
func connectResult(int) error      { return errNotLinux }
func localAddr(int) netip.AddrPort { return netip.AddrPort{} }
func tune(int)                     {}
func endStream(int)                {}
func closeSocket(int, bool)        {}
func unsentBytes(int) int          { return 0 }
func maxFiles() int                { return 0 }

// OriginalDestination asks the kernel where a redirected connection was meant
// to go.
func OriginalDestination(int) (netip.AddrPort, error) { return netip.AddrPort{}, errNotLinux }
