// Package original asks the kernel where a redirected connection was meant to
// go.
package original

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Destination returns a redirected IPv4 connection's original destination.
func Destination(conn *net.TCPConn) (netip.AddrPort, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("looking at a connection: %w", err)
	}
	var sockaddr *unix.IPv6Mreq
	controlErr := raw.Control(func(fd uintptr) {
		// The kernel writes a sockaddr_in, of 16 bytes: x/sys knows no option
		// of this type, but this one of the same size.
		sockaddr, err = unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, unix.SO_ORIGINAL_DST)
	})
	if controlErr != nil {
		err = controlErr
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("asking for the original destination: %w", err)
	}
	b := sockaddr.Multiaddr // family, port, address
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3])), nil
}
