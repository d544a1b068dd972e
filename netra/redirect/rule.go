package redirect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Million is the unit of a rule's Share.
const Million = 1_000_000

// Hook is the place in a packet's way where a chain stands.
type Hook string

// The two hooks that can change a connection's destination: before routing for
// connections from elsewhere, on output for the pod's own.
const (
	Prerouting Hook = "prerouting"
	Output     Hook = "output"
)

// Plan is what is to be captured. Its JSON and its String are stable.
type Plan struct {
	Inbound  Chain `json:"inbound"`
	Outbound Chain `json:"outbound"`
}

// Chain is a list of rules. For each new TCP connection the first rule that
// matches decides; where none does, the connection is left alone.
type Chain struct {
	Hook  Hook   `json:"hook"`
	Rules []Rule `json:"rules"`
}

// Rule matches connections by all of its conditions that are set, and then
// redirects them or leaves them alone. A rule without conditions matches all.
type Rule struct {
	// UID is the sending process's user. It means something on output only.
	UID *uint32 `json:"uid,omitempty"`
	// Loopback asks for the loopback interface.
	Loopback bool `json:"loopback,omitempty"`
	// Net asks for a destination address; it matches its own family only.
	Net netip.Prefix `json:"net,omitzero"`
	// Ports asks for a destination port.
	Ports PortRange `json:"ports,omitzero"`
	// Share matches so many of a million connections, at random.
	Share uint32 `json:"share,omitempty"`
	// Redirect is the local port that the connection goes to; 0 leaves it
	// alone.
	Redirect uint16 `json:"redirect,omitempty"`
	// Why is for people.
	Why string `json:"why"`
}

// PortRange is First to Last, both included.
type PortRange struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

func (r PortRange) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Contains reports whether port is in the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// String returns the rule on one line, such as "port 80: redirect to 14956
// (captured)".
func (r Rule) String() string {
	ports := ""
	if r.Ports != (PortRange{}) {
		ports = r.Ports.String()
	}
	return r.text(ports)
}

// text is String for a rule with these ports.
func (r Rule) text(ports string) string {
	var parts []string
	if r.UID != nil {
		parts = append(parts, fmt.Sprintf("uid %d", *r.UID))
	}
	if r.Loopback {
		parts = append(parts, "interface lo")
	}
	if r.Net.IsValid() {
		parts = append(parts, "to "+r.Net.String())
	}
	if ports != "" {
		parts = append(parts, "port "+ports)
	}
	if r.Share != 0 {
		parts = append(parts, fmt.Sprintf("%d in %d", r.Share, Million))
	}
	if len(parts) == 0 {
		parts = append(parts, "any")
	}
	action := "leave"
	if r.Redirect != 0 {
		action = fmt.Sprintf("redirect to %d", r.Redirect)
	}
	return fmt.Sprintf("%s: %s (%s)", strings.Join(parts, " "), action, r.Why)
}

// String returns the whole plan, a rule on each line.
func (p Plan) String() string {
	var b strings.Builder
	b.WriteString("new TCP connections over IPv4 and IPv6; the first rule that matches decides\n")
	for _, c := range []struct {
		name  string
		chain Chain
	}{{"inbound", p.Inbound}, {"outbound", p.Outbound}} {
		fmt.Fprintf(&b, "%s (%s)\n", c.name, c.chain.Hook)
		for _, r := range c.chain.Rules {
			fmt.Fprintf(&b, "  %s\n", r)
		}
	}
	return b.String()
}

// Connection is what a rule looks at.
type Connection struct {
	UID         uint32
	Loopback    bool
	Destination netip.AddrPort
}

// Decide returns where the chain sends conn (0: nowhere, it is left alone) and
// with what probability, as the kernel would.
func (c Chain) Decide(conn Connection) (port uint16, probability float64) {
	probability = 1
	for _, r := range c.Rules {
		if !r.matches(conn) {
			continue
		}
		if r.Share != 0 {
			probability *= 1 - float64(r.Share)/Million
			continue
		}
		return r.Redirect, probability
	}
	return 0, 1
}

// differs compares the chain with rules in their own words.
func (c Chain) differs(installed []string) string {
	want := make([]string, len(c.Rules))
	for i, r := range c.Rules {
		want[i] = r.String()
	}
	return differs(want, installed)
}

// differs says in what the installed rules are not the wanted ones, or "".
func differs(want, installed []string) string {
	for _, line := range want {
		if !slices.Contains(installed, line) {
			return fmt.Sprintf("%q is not applied", line)
		}
	}
	for _, line := range installed {
		if !slices.Contains(want, line) {
			return fmt.Sprintf("%q is applied and is not in the plan", line)
		}
	}
	switch {
	case slices.Equal(want, installed):
		return ""
	case len(want) != len(installed):
		return "some are applied more than once"
	default:
		return "they are applied in another order"
	}
}

// matches is the deterministic part of the rule: all conditions but Share.
func (r Rule) matches(conn Connection) bool {
	return (r.UID == nil || *r.UID == conn.UID) &&
		(!r.Loopback || conn.Loopback) &&
		(!r.Net.IsValid() || r.Net.Contains(conn.Destination.Addr())) &&
		(r.Ports == PortRange{} || r.Ports.Contains(conn.Destination.Port()))
}
