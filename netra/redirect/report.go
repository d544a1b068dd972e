package redirect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Report is what Check found.
type Report struct {
	// By is the backend whose rules are in place.
	By       string         `json:"by"`
	Families []FamilyReport `json:"families"`
}

// FamilyReport is what Check found for one IP version.
type FamilyReport struct {
	Family string `json:"family"`
	// Captured is set where a connection to Destination arrived at netra's
	// outbound port.
	Captured    bool           `json:"captured"`
	Destination netip.AddrPort `json:"destination,omitzero"`
	// Skipped says why no connection was tried.
	Skipped string `json:"skipped,omitempty"`
}

// String returns a line for the rules and one for each family.
func (r Report) String() string {
	var b strings.Builder
	if r.By != "" {
		fmt.Fprintf(&b, "the rules are applied by %s\n", r.By)
	}
	for _, f := range r.Families {
		switch {
		case f.Skipped != "":
			fmt.Fprintf(&b, "%s: not tried, %s\n", f.Family, f.Skipped)
		case f.Captured:
			fmt.Fprintf(&b, "%s: a connection to %s was captured\n", f.Family, f.Destination)
		default:
			fmt.Fprintf(&b, "%s: a connection to %s was NOT captured\n", f.Family, f.Destination)
		}
	}
	return b.String()
}

// documentation are addresses that are never anybody's (RFC 5737, RFC 3849):
// a connection to one of them can only succeed if it is captured.
var documentation = map[string][]netip.Addr{
	ipv4: {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1")},
	ipv6: {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("3fff::1")},
}

// target returns a destination of the family that the chain captures for uid,
// and with what probability; the probability is 0 where there is none.
func (c Chain) target(family string, uid uint32) (netip.AddrPort, float64) {
	// Any port does where all are captured; 9 is "discard".
	ports := []uint16{9, 80, 443, 8080, 49152}
	for _, r := range c.Rules {
		if r.Redirect != 0 && r.Ports != (PortRange{}) {
			ports = append(ports, r.Ports.First, r.Ports.Last)
		}
	}
	slices.Sort(ports)
	for _, addr := range documentation[family] {
		for _, port := range ports {
			dst := netip.AddrPortFrom(addr, port)
			if to, p := c.Decide(Connection{UID: uid, Destination: dst}); to != 0 {
				return dst, p
			}
		}
	}
	return netip.AddrPort{}, 0
}

// port returns where the chain sends what it captures, 0 where it captures
// nothing.
func (c Chain) port() uint16 {
	for _, r := range c.Rules {
		if r.Redirect != 0 {
			return r.Redirect
		}
	}
	return 0
}
