package proxy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

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
