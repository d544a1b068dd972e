package redirect

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
)

// For settings and connections drawn at random, Decide says what the kernel
// does, whichever way the plan gets there.
func TestDecideAgreesWithTheKernel(t *testing.T) { eachWay(t, testDecideAgreesWithTheKernel) }

func testDecideAgreesWithTheKernel(t *testing.T, apply func(netns, Plan)) {
	const plans, connections = 8, 40
	pod, peer := podAndPeer(t)
	ports := []uint16{21, 22, 80, 443, 8080, 8081, 14955, 14956, 14958, 24000, 24050}
	for _, port := range ports {
		peer.serve(port, direct)
		if port != 14955 && port != 14956 { // where podAndPeer answers
			pod.serve(port, direct)
		}
	}
	for seed := range uint64(plans) {
		random := rand.New(rand.NewPCG(seed, 0))
		s := randomSettings(random, ports)
		p := mustPlan(t, s)
		apply(pod, p)
		for range connections {
			port := ports[random.IntN(len(ports))]
			in := random.IntN(3) == 0
			conn := Connection{UID: []uint32{0, 1000, 1337, 4321}[random.IntN(4)]}
			from, chain, addrs := pod, p.Outbound, []string{peerV4, peerV6, excludedV4, excludedV6, metadataV4, metadataV6, podV4, podV6, "127.0.0.1", "::1"}
			if in {
				from, chain, addrs = peer, p.Inbound, []string{podV4, podV6}
			}
			addr := addrs[random.IntN(len(addrs))]
			conn.Loopback = !in && (addr == podV4 || addr == podV6 || addr == "127.0.0.1" || addr == "::1")
			conn.Destination = netip.AddrPortFrom(netip.MustParseAddr(addr), port)
			to, _ := chain.Decide(conn)

			got := from.dial(int(conn.UID), net.JoinHostPort(addr, fmt.Sprint(port)))
			want := "direct"
			if to != 0 {
				want = "captured on the way to " + conn.Destination.String()
			} else if (in || conn.Loopback) && (port == 14955 || port == 14956) {
				continue // netra's own listener answers, captured or not
			}
			if got != want {
				t.Errorf("seed %d: %+v: %q, want %q, by\n%s", seed, conn, got, want, p)
			}
		}
	}
}

// randomSettings uses ports near and far from those that are tried, and no
// probability but 0 and 1, of which the kernel's answer is certain.
func randomSettings(random *rand.Rand, ports []uint16) Settings {
	some := func(most int) (list []uint16) {
		for range random.IntN(most + 1) {
			list = append(list, ports[random.IntN(len(ports))]+uint16(random.IntN(3)))
		}
		return list
	}
	direction := func() Direction {
		return Direction{
			AllPorts: random.IntN(2) == 0, Ports: some(20), ExcludePorts: some(3),
			Probability: float64(min(1, random.IntN(8))), // seldom 0
		}
	}
	s := Settings{InboundPort: 14956, OutboundPort: 14955, AdminPort: 14958, UID: []uint32{1337, 4321}[random.IntN(2)], Inbound: direction(), Outbound: direction()}
	for _, cidr := range []string{"10.88.0.0/16", "10.77.0.2/32", "fd77::/64", "fd88::2/128", "0.0.0.0/1", "8000::/1"} {
		if random.IntN(3) == 0 {
			s.ExcludeCIDRs = append(s.ExcludeCIDRs, netip.MustParsePrefix(cidr))
		}
	}
	return s
}
