package sidecar

import (
	"net/netip"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
)

// Redirect is what netra-init is told. The package comment of netra-init says
// what each variable means.
type Redirect struct {
	InboundPort, OutboundPort, AdminPort uint16
	UID                                  uint32
	Inbound, Outbound                    Direction
	ExcludeCIDRs                         []netip.Prefix
	Backend                              string // one of Backends
}

// Direction says which connections of one direction are captured.
type Direction struct {
	AllPorts     bool
	Ports        []uint16
	ExcludePorts []uint16
	Probability  float64
}

// Backends are the values of NETRA_REDIRECT_BACKEND, the default first.
var Backends = []string{"auto", "nftables", "iptables"}

// ReadRedirect reads the settings of netra-init.
func ReadRedirect(r *env.Reader) Redirect {
	direction := func(ports, exclude, probability string) Direction {
		var d Direction
		d.Ports, d.AllPorts = r.Ports(ports, "*")
		var all bool
		if d.ExcludePorts, all = r.Ports(exclude, ""); all {
			r.Fault(exclude, "*", "ports separated by commas (to capture nothing, set "+probability+" to 0)")
		}
		d.Probability = r.Float(probability, 1, 0, 1)
		return d
	}
	in := r.Int(api.EnvNetraPort, api.NetraInboundPort, 1, 65535)
	out := r.Int(api.EnvNetraOutboundPort, api.NetraOutboundPort, 1, 65535)
	admin := r.Int(api.EnvNetraAdminPort, api.NetraAdminPort, 1, 65535)
	checkPorts(r, in, out, admin)
	return Redirect{
		InboundPort: uint16(in), OutboundPort: uint16(out), AdminPort: uint16(admin),
		UID:          uint32(r.Int(api.EnvNetraUID, api.NetraUID, 1, 1<<31-1)),
		Inbound:      direction(api.EnvInboundPorts, api.EnvExcludeInboundPorts, api.EnvInboundProbability),
		Outbound:     direction(api.EnvOutboundPorts, api.EnvExcludeOutboundPorts, api.EnvOutboundProbability),
		ExcludeCIDRs: r.Prefixes(api.EnvExcludeCIDRs),
		Backend:      r.OneOf(api.EnvRedirectBackend, Backends[0], Backends...),
	}
}
