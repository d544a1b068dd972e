// Package redirect sends a pod's TCP connections to netra: it decides which
// ones (a Plan), puts the decision into the kernel's packet filter, proves that
// it works and takes it out again.
//
//	plan, err := redirect.NewPlan(redirect.Settings{
//		InboundPort: 14956, OutboundPort: 14955, AdminPort: 14958, UID: 1337,
//		Inbound:  redirect.Direction{AllPorts: true, Probability: 1},
//		Outbound: redirect.Direction{AllPorts: true, Probability: 1},
//	})
//	…
//	applied, err := redirect.Apply(ctx, plan, redirect.Auto)
//
// NewPlan is pure: a Plan is rules as values, in the order in which they are
// tried, and says nothing of how a kernel is told. There are two ways to tell
// it, the backends, and a plan means the same in both:
//
//   - nftables, by netlink: one inet table (IPv4 and IPv6), written in one
//     transaction, so that a connection sees either all the old rules or all
//     the new ones;
//   - iptables, for kernels without nf_tables: Plan → natTable (rules as lines,
//     pure) → the input of iptables-restore and ip6tables-restore, which commit
//     one family each. The chains are netra's own, so they are replaced whole;
//     the two rules that lead to them are counted, and added or taken out until
//     there is one of each.
//
// Applying twice leaves the same rules as applying once, and what one backend
// applied the other one removes first.
package redirect

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// Settings say which connections netra is to see.
type Settings struct {
	// InboundPort and OutboundPort are where netra listens, AdminPort where it
	// serves its metrics. They are never captured themselves.
	InboundPort, OutboundPort, AdminPort uint16
	// UID is the user netra runs as. What this user sends is left alone, or
	// netra's own connections would come back to it.
	UID               uint32
	Inbound, Outbound Direction
	// ExcludeCIDRs are destinations that outbound capture leaves alone.
	ExcludeCIDRs []netip.Prefix
}

// Direction says which connections of one direction are captured.
type Direction struct {
	// AllPorts captures every destination port; Ports is then not used.
	AllPorts bool
	Ports    []uint16
	// ExcludePorts win over Ports and AllPorts.
	ExcludePorts []uint16
	// Probability is the share of connections captured, 0 to 1. It is drawn
	// once for each connection.
	Probability float64
}

// metadata are the addresses at which clouds hand machine credentials to those
// who ask; their traffic must neither be held up nor recorded.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("169.254.169.254/32"),
	netip.MustParsePrefix("fd00:ec2::254/128"),
}

var loopback = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("::1/128"),
}

// NewPlan returns the rules for s, or every fault in s at once.
func NewPlan(s Settings) (Plan, error) {
	if err := s.validate(); err != nil {
		return Plan{}, err
	}
	own := append([]PortRange{{api.OwnPortFirst, api.OwnPortLast}},
		ranges(api.NetraInboundPort, api.NetraOutboundPort, api.NetraAdminPort, s.InboundPort, s.OutboundPort, s.AdminPort)...)

	in := Chain{Hook: Prerouting, Rules: []Rule{{Loopback: true, Why: "from the pod to itself"}}}
	in.leavePorts(merge(own), "Formicarium's own port")
	in.leavePorts(ranges(s.Inbound.ExcludePorts...), "excluded port")
	in.capture(s.Inbound, s.InboundPort)

	out := Chain{Hook: Output, Rules: []Rule{
		{UID: &s.UID, Why: "netra's own traffic"},
		// A pod's connection to its own address leaves over lo as well.
		{Loopback: true, Why: "from the pod to itself"},
	}}
	out.leaveNets(loopback, "loopback")
	out.leaveNets(metadata, "cloud metadata")
	// Only the range: another pod may well serve on netra's port numbers, and
	// connections to it are traffic like any other.
	out.leavePorts([]PortRange{{api.OwnPortFirst, api.OwnPortLast}}, "Formicarium's own port")
	out.leavePorts(ranges(s.Outbound.ExcludePorts...), "excluded port")
	out.leaveNets(sortedNets(s.ExcludeCIDRs), "excluded destination")
	out.capture(s.Outbound, s.OutboundPort)
	return Plan{Inbound: in, Outbound: out}, nil
}

func (s Settings) validate() error {
	var faults []error
	for _, p := range []struct {
		name string
		port uint16
	}{{"inbound", s.InboundPort}, {"outbound", s.OutboundPort}, {"admin", s.AdminPort}} {
		if p.port == 0 {
			faults = append(faults, fmt.Errorf("netra's %s port is 0: give one from 1 to 65535", p.name))
		}
	}
	if s.InboundPort == s.OutboundPort || s.InboundPort == s.AdminPort || s.OutboundPort == s.AdminPort {
		faults = append(faults, fmt.Errorf("netra's ports are inbound %d, outbound %d and admin %d: give three different ones",
			s.InboundPort, s.OutboundPort, s.AdminPort))
	}
	if s.UID == 0 {
		// Root's connections would all be left alone, and most applications
		// run as root: nothing would be captured, and nothing would say so.
		faults = append(faults, errors.New("netra's user id is 0: run netra as a user of its own"))
	}
	for _, d := range []struct {
		name string
		p    float64
	}{{"inbound", s.Inbound.Probability}, {"outbound", s.Outbound.Probability}} {
		if !(d.p >= 0 && d.p <= 1) { // the form that NaN fails, too
			faults = append(faults, fmt.Errorf("the %s probability is %g: give one from 0 to 1", d.name, d.p))
		}
	}
	return errors.Join(faults...)
}

// leavePorts adds a rule for each range.
func (c *Chain) leavePorts(ports []PortRange, why string) {
	for _, r := range ports {
		c.Rules = append(c.Rules, Rule{Ports: r, Why: why})
	}
}

// leaveNets adds a rule for each network.
func (c *Chain) leaveNets(nets []netip.Prefix, why string) {
	for _, n := range nets {
		c.Rules = append(c.Rules, Rule{Net: n, Why: why})
	}
}

// capture adds the rules that draw lots and redirect.
func (c *Chain) capture(d Direction, port uint16) {
	missed := Million - share(d.Probability)
	if missed > 0 && missed < Million {
		c.Rules = append(c.Rules, Rule{Share: missed, Why: "not drawn"})
	}
	switch {
	case missed == Million:
	case d.AllPorts:
		c.Rules = append(c.Rules, Rule{Redirect: port, Why: "captured"})
	default:
		for _, r := range ranges(d.Ports...) {
			c.Rules = append(c.Rules, Rule{Ports: r, Redirect: port, Why: "captured"})
		}
	}
}

// share converts a probability to parts of a million. Whatever is above 0 and
// below 1 stays so.
func share(p float64) uint32 {
	switch n := uint32(math.Round(p * Million)); {
	case p > 0 && n == 0:
		return 1
	case p < 1 && n == Million:
		return Million - 1
	default:
		return n
	}
}

// ranges returns ports as sorted ranges that neither overlap nor touch.
func ranges(ports ...uint16) []PortRange {
	list := make([]PortRange, len(ports))
	for i, p := range ports {
		list[i] = PortRange{p, p}
	}
	return merge(list)
}

func merge(list []PortRange) []PortRange {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	var merged []PortRange
	for _, r := range list {
		if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

func sortedNets(nets []netip.Prefix) []netip.Prefix {
	list := make([]netip.Prefix, len(nets))
	for i, n := range nets {
		list[i] = n.Masked()
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return strings.Compare(a.Addr().StringExpanded()+a.String(), b.Addr().StringExpanded()+b.String())
	})
	return slices.Compact(list)
}
