package proxy

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

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
