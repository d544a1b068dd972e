package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// originalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST of netfilter, which
// have the same number.
const originalDst = 80

// OriginalDestination asks the kernel where a redirected connection was meant
// to go.
func OriginalDestination(fd int) (destination netip.AddrPort, err error) {
	if local := localAddr(fd).Addr(); local.Is4() { // also on a dual-stack socket
		destination, err = originalDestination4(fd)
	} else {
		destination, err = originalDestination6(fd, local.Zone())
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("finding the original destination: %w", err)
	}
	return destination, nil
}

// originalDestination4 reads a sockaddr_in: family, port, address.
func originalDestination4(fd int) (netip.AddrPort, error) {
	// The call that returns 20 bytes as they are; sockaddr_in has 16.
	v, err := unix.GetsockoptIPv6Mreq(fd, unix.IPPROTO_IP, originalDst)
	if err != nil {
		return netip.AddrPort{}, err
	}
	address := netip.AddrFrom4([4]byte(v.Multiaddr[4:8]))
	return netip.AddrPortFrom(address, binary.BigEndian.Uint16(v.Multiaddr[2:4])), nil
}

// originalDestination6 reads a sockaddr_in6.
func originalDestination6(fd int, zone string) (netip.AddrPort, error) {
	// The call that returns a sockaddr_in6 and four bytes more.
	v, err := unix.GetsockoptIPv6MTUInfo(fd, unix.IPPROTO_IPV6, originalDst)
	if err != nil {
		return netip.AddrPort{}, err
	}
	address := netip.AddrFrom16(v.Addr.Addr).Unmap()
	if address.IsLinkLocalUnicast() {
		if v.Addr.Scope_id != 0 {
			zone = strconv.Itoa(int(v.Addr.Scope_id))
		}
		address = address.WithZone(zone)
	}
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], v.Addr.Port) // as the kernel left it
	return netip.AddrPortFrom(address, binary.BigEndian.Uint16(port[:])), nil
}

// Reasons for refusing a connection.
const (
	refusedUnknown       = "no_destination"
	refusedNotRedirected = "not_redirected"
	refusedLoop          = "loop"
)

// refuse says why a connection must not be proxied, or "". A connection to
// netra itself would be dialled by netra again, and again.
func (p *Proxy) refuse(local, destination netip.AddrPort, err error) string {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOPROTOOPT):
		return refusedNotRedirected // the kernel tracks no such connection, or none at all
	case err != nil || !destination.IsValid() || destination.Port() == 0:
		return refusedUnknown
	case destination == local:
		return refusedNotRedirected
	case slices.Contains(p.settings.OwnPorts, destination.Port()) && isLocal(destination.Addr(), local.Addr()):
		return refusedLoop
	}
	return ""
}

// isLocal reports whether address is one of this network namespace.
func isLocal(address, known netip.Addr) bool {
	if address.IsLoopback() || address.IsUnspecified() || address == known {
		return true
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return true // a wrong refusal is better than a loop
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == address.WithZone("") {
			return true
		}
	}
	return false
}
