package redirect

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/testutil"
)

// defaults are what netra-init has without any variable.
func defaults() Settings {
	return Settings{
		InboundPort: 14956, OutboundPort: 14955, AdminPort: 14958, UID: 1337,
		Inbound:  Direction{AllPorts: true, Probability: 1},
		Outbound: Direction{AllPorts: true, Probability: 1},
	}
}

func mustPlan(t *testing.T, s Settings) Plan {
	t.Helper()
	p, err := NewPlan(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// goldenSettings are the settings whose plans and rules are golden files.
func goldenSettings() map[string]func(*Settings) {
	return map[string]func(*Settings){
		"defaults": func(*Settings) {},
		"listed-ports": func(s *Settings) {
			s.Inbound = Direction{Ports: []uint16{8080, 80, 8081, 80}, Probability: 1}
			s.Outbound = Direction{Ports: []uint16{80, 443}, Probability: 1}
		},
		"excluded": func(s *Settings) {
			s.Inbound.ExcludePorts = []uint16{9090, 22}
			s.Outbound.ExcludePorts = []uint16{25, 587}
			s.ExcludeCIDRs = []netip.Prefix{
				netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("10.0.0.0/8"),
			}
		},
		"probability": func(s *Settings) { s.Inbound.Probability, s.Outbound.Probability = 0.25, 0.5 },
		"outbound-only": func(s *Settings) {
			s.Inbound.Probability = 0
		},
		"other-ports-and-user": func(s *Settings) {
			s.InboundPort, s.OutboundPort, s.AdminPort, s.UID = 4000, 4001, 4002, 2000
		},
	}
}

func TestPlanGolden(t *testing.T) {
	for name, change := range goldenSettings() {
		t.Run(name, func(t *testing.T) {
			s := defaults()
			change(&s)
			p := mustPlan(t, s)
			testutil.Golden(t, "testdata/"+name+".golden.txt", []byte(p.String()))
			data, err := json.MarshalIndent(p, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			testutil.Golden(t, "testdata/"+name+".golden.json", append(data, '\n'))
		})
	}
}

func TestPlanNamesEveryFault(t *testing.T) {
	s := defaults()
	s.InboundPort, s.AdminPort, s.UID = 0, 14955, 0
	s.Inbound.Probability, s.Outbound.Probability = math.NaN(), 1.5
	_, err := NewPlan(s)
	if err == nil {
		t.Fatal("NewPlan accepts five faults")
	}
	for _, want := range []string{"inbound port is 0", "outbound 14955 and admin 14955", "user id is 0", "inbound probability is NaN", "outbound probability is 1.5"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
}

// The rules' comments are stored in the kernel, which keeps 128 bytes of them.
func TestRulesFitTheKernelsComments(t *testing.T) {
	s := defaults()
	s.Inbound.Probability = 0.123456
	s.Outbound.Ports, s.Outbound.AllPorts = []uint16{65534, 65535}, false
	s.ExcludeCIDRs = []netip.Prefix{netip.MustParsePrefix("fd00:1111:2222:3333:4444:5555:6666:7777/128")}
	p := mustPlan(t, s)
	for _, r := range slices.Concat(p.Inbound.Rules, p.Outbound.Rules) {
		if n := len(r.String()); n > 120 {
			t.Errorf("%q has %d bytes", r, n)
		}
	}
}

func TestDecide(t *testing.T) {
	s := defaults()
	s.Inbound.ExcludePorts = []uint16{9090}
	s.Outbound = Direction{Ports: []uint16{80, 24001}, ExcludePorts: []uint16{443}, Probability: 0.5}
	s.ExcludeCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	p := mustPlan(t, s)
	for _, c := range []struct {
		name  string
		chain Chain
		conn  Connection
		port  uint16
		share float64
	}{
		{"in", p.Inbound, Connection{Destination: netip.MustParseAddrPort("10.1.1.1:80")}, 14956, 1},
		{"in, v6", p.Inbound, Connection{Destination: netip.MustParseAddrPort("[fd77::1]:80")}, 14956, 1},
		{"in, own port", p.Inbound, Connection{Destination: netip.MustParseAddrPort("10.1.1.1:14956")}, 0, 1},
		{"in, stinger", p.Inbound, Connection{Destination: netip.MustParseAddrPort("10.1.1.1:24000")}, 0, 1},
		{"in, excluded", p.Inbound, Connection{Destination: netip.MustParseAddrPort("10.1.1.1:9090")}, 0, 1},
		{"in, lo", p.Inbound, Connection{Loopback: true, Destination: netip.MustParseAddrPort("10.1.1.1:80")}, 0, 1},
		{"out", p.Outbound, Connection{Destination: netip.MustParseAddrPort("192.0.2.1:80")}, 14955, 0.5},
		{"out, netra", p.Outbound, Connection{UID: 1337, Destination: netip.MustParseAddrPort("192.0.2.1:80")}, 0, 1},
		{"out, not listed", p.Outbound, Connection{Destination: netip.MustParseAddrPort("192.0.2.1:8080")}, 0, 1},
		{"out, own range although listed", p.Outbound, Connection{Destination: netip.MustParseAddrPort("192.0.2.1:24001")}, 0, 1},
		{"out, excluded net", p.Outbound, Connection{Destination: netip.MustParseAddrPort("10.2.3.4:80")}, 0, 1},
		{"out, metadata", p.Outbound, Connection{Destination: netip.MustParseAddrPort("169.254.169.254:80")}, 0, 1},
		{"out, loopback", p.Outbound, Connection{Destination: netip.MustParseAddrPort("127.5.0.1:80")}, 0, 1},
	} {
		if port, share := c.chain.Decide(c.conn); port != c.port || port != 0 && share != c.share {
			t.Errorf("%s: Decide = %d, %g; want %d, %g", c.name, port, share, c.port, c.share)
		}
	}
}

func TestShare(t *testing.T) {
	for p, want := range map[float64]uint32{0: 0, 1: Million, 0.5: Million / 2, 1e-9: 1, 1 - 1e-9: Million - 1} {
		if got := share(p); got != want {
			t.Errorf("share(%g) = %d, want %d", p, got, want)
		}
	}
}

func TestTargetAvoidsWhatIsExcluded(t *testing.T) {
	s := defaults()
	s.ExcludeCIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("::/0")}
	s.Outbound = Direction{Ports: []uint16{80, 7777}, ExcludePorts: []uint16{80}, Probability: 1}
	p := mustPlan(t, s)
	if dst, share := p.Outbound.target("IPv4", 0); dst != netip.MustParseAddrPort("198.51.100.1:7777") || share != 1 {
		t.Errorf("IPv4 target = %v at %g", dst, share)
	}
	if dst, share := p.Outbound.target("IPv6", 0); share != 0 {
		t.Errorf("IPv6 target = %v, although all of IPv6 is excluded", dst)
	}
	if dst, share := p.Outbound.target("IPv4", 1337); share != 0 {
		t.Errorf("target for netra's own user = %v", dst)
	}
}
