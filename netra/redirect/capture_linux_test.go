package redirect

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestCapture(t *testing.T) { eachWay(t, testCapture) }

func testCapture(t *testing.T, apply func(netns, Plan)) {
	pod, peer := podAndPeer(t)
	for _, port := range []uint16{80, 8080, 14956, 24000, 24090, 2525} {
		peer.serve(port, direct)
	}
	for _, port := range []uint16{8080, 9090, 14958, 24000} {
		pod.serve(port, direct)
	}
	s := defaults()
	s.Inbound.ExcludePorts = []uint16{9090}
	s.Outbound.ExcludePorts = []uint16{2525}
	s.ExcludeCIDRs = []netip.Prefix{netip.MustParsePrefix("10.88.0.0/16"), netip.MustParsePrefix("fd88::/16")}
	apply(pod, mustPlan(t, s))

	const none, netra = 0, 1337
	for _, c := range []struct {
		name     string
		from     netns
		uid      int
		v4, v6   string
		port     int
		captured bool
	}{
		{"outbound", pod, none, peerV4, peerV6, 80, true},
		{"outbound, ordinary user", pod, 1000, peerV4, peerV6, 8080, true},
		{"outbound, to another pod's netra port", pod, none, peerV4, peerV6, 14956, true},
		{"outbound, by netra", pod, netra, peerV4, peerV6, 80, false},
		{"outbound, stinger's port", pod, none, peerV4, peerV6, 24000, false},
		{"outbound, hub's port", pod, none, peerV4, peerV6, 24090, false},
		{"outbound, excluded port", pod, none, peerV4, peerV6, 2525, false},
		{"outbound, excluded net", pod, none, excludedV4, excludedV6, 80, false},
		{"outbound, metadata", pod, none, metadataV4, metadataV6, 80, false},
		{"loopback", pod, none, "127.0.0.1", "::1", 8080, false},
		{"loopback, another address", pod, none, "127.9.9.9", "::1", 8080, false},
		{"to the pod itself", pod, none, podV4, podV6, 8080, false},
		{"inbound", peer, none, podV4, podV6, 8080, true},
		{"inbound, nothing listens there", peer, none, podV4, podV6, 8081, true},
		{"inbound, excluded port", peer, none, podV4, podV6, 9090, false},
		{"inbound, metrics", peer, none, podV4, podV6, 14958, false},
		{"inbound, stinger's port", peer, none, podV4, podV6, 24000, false},
	} {
		for _, addr := range []string{c.v4, c.v6} {
			to := net.JoinHostPort(addr, fmt.Sprint(c.port))
			want := "direct"
			if c.captured {
				want = "captured on the way to " + to
			}
			if got := c.from.dial(c.uid, to); got != want {
				t.Errorf("%s, %s: %q, want %q", c.name, to, got, want)
			}
		}
	}
}

func TestCaptureOfListedPorts(t *testing.T) { eachWay(t, testCaptureOfListedPorts) }

func testCaptureOfListedPorts(t *testing.T, apply func(netns, Plan)) {
	pod, peer := podAndPeer(t)
	for _, port := range []uint16{80, 81, 443} {
		peer.serve(port, direct)
		pod.serve(port, direct)
	}
	s := defaults()
	s.Inbound.AllPorts, s.Inbound.Ports = false, []uint16{80}
	s.Outbound.AllPorts, s.Outbound.Ports = false, []uint16{443, 80}
	apply(pod, mustPlan(t, s))
	for to, want := range map[string]string{
		peerV4 + ":80": "captured on the way to " + peerV4 + ":80", peerV4 + ":443": "captured on the way to " + peerV4 + ":443", peerV4 + ":81": "direct",
	} {
		if got := pod.dial(0, to); got != want {
			t.Errorf("out to %s: %q, want %q", to, got, want)
		}
	}
	for to, want := range map[string]string{
		podV4 + ":80": "captured on the way to " + podV4 + ":80", podV4 + ":81": "direct", podV4 + ":443": "direct",
	} {
		if got := peer.dial(0, to); got != want {
			t.Errorf("in to %s: %q, want %q", to, got, want)
		}
	}
}

func TestProbability(t *testing.T) { eachWay(t, testProbability) }

func testProbability(t *testing.T, apply func(netns, Plan)) {
	pod, peer := podAndPeer(t)
	peer.serve(80, direct)
	pod.serve(80, direct)
	count := func(from netns, to string, connections int) (n int) {
		from.do(func() {
			for range connections {
				conn, err := net.DialTimeout("tcp", to, 20*time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				line, _ := bufio.NewReader(conn).ReadString('\n')
				conn.Close()
				if strings.HasPrefix(line, "captured") {
					n++
				}
			}
		})
		return n
	}
	for _, c := range []struct {
		probability    float64
		low, high, out int
	}{
		{0, 0, 0, 40},
		{1, 40, 40, 40},
		// 400 draws at one half have a standard deviation of 10: these bounds
		// are ten of them away.
		{0.5, 100, 300, 400},
	} {
		s := defaults()
		s.Inbound.Probability, s.Outbound.Probability = c.probability, c.probability
		apply(pod, mustPlan(t, s))
		if n := count(pod, peerV4+":80", c.out); n < c.low || n > c.high {
			t.Errorf("outbound at %g: %d of %d captured, want %d to %d", c.probability, n, c.out, c.low, c.high)
		}
		if n := count(peer, "["+podV6+"]:80", c.out); n < c.low || n > c.high {
			t.Errorf("inbound at %g: %d of %d captured, want %d to %d", c.probability, n, c.out, c.low, c.high)
		}
	}
}
