package metrics

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/testutil"
)

func TestText(t *testing.T) {
	s := New("v1.2.3")
	for _, took := range []time.Duration{500 * time.Microsecond, 30 * time.Millisecond, time.Minute} {
		s.Requests.Observe(Request{"outbound", s.Peer("orders"), "2xx"}, took, 12, 1024)
	}
	s.Requests.Observe(Request{"inbound", s.Peer(""), "none"}, time.Second, 0, 0)
	s.Requests.Observe(Request{"outbound", s.Peer("a\"b\\c\nd\xff"), "5xx"}, time.Second, 0, 7)
	if n := s.Requests.Value(Request{"outbound", "orders", "2xx"}); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	s.Blind.Add(Cause{"inbound", "tls"}, 1)
	s.Refused.Add(Cause{"outbound", "loop"}, 2)
	s.Links.Add("inferred", 4)
	s.Routed.Add(Result{"outbound", "routed"}, 6)
	s.Probes.Add(Probe{ProbeTCP, "5xx"}, 8)
	s.Inbound.Connections.Add(7)
	s.Inbound.Open.Add(2)
	s.Outbound.ResponseBytes.Add(1 << 40)
	postgresql := Connection{"outbound", s.Peer("10.0.0.7"), "postgresql"}
	s.TCP.Add(Closing{postgresql, "client"}, 2)
	s.TCP.Add(Closing{Connection{"inbound", "", "redis"}, "server_reset"}, 1)
	s.TCPOpen.Add(postgresql, 3)
	s.TCPOpen.Sub(postgresql, 2)
	s.TCPBytes.Add(PeerBytes{"outbound", "10.0.0.7", "response"}, 512)
	s.Outbound.Lifetime.Observe(90 * time.Second)
	s.Dropped.Add(5)
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	testutil.Golden(t, "testdata/metrics.golden", b.Bytes())
}

func TestPeersAreBounded(t *testing.T) {
	s := New("")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range MaxPeers {
				s.Peer(fmt.Sprintf("peer-%d-%d", i, n))
			}
		})
	}
	wg.Wait()
	if got := len(s.peers.known); got != MaxPeers {
		t.Errorf("%d peers known, want %d", got, MaxPeers)
	}
	if got := s.Peer("one-more"); got != OtherPeer {
		t.Errorf("Peer beyond the bound = %q, want %q", got, OtherPeer)
	}
	for known := range s.peers.known {
		if got := s.Peer(known); got != known {
			t.Errorf("Peer(%q) = %q", known, got)
		}
	}
}
