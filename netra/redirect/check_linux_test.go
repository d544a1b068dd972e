package redirect

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) { eachWay(t, testCheck) }

func testCheck(t *testing.T, apply func(netns, Plan)) {
	pod, _ := podAndPeer(t)
	p := mustPlan(t, defaults())
	check := func() (report Report, err error) {
		pod.do(func() { report, err = Check(t.Context(), p, Auto) })
		return report, err
	}
	if _, err := check(); err == nil || !strings.Contains(err.Error(), "no redirection is applied") {
		t.Errorf("Check before Apply = %v", err)
	}
	apply(pod, p)
	report, err := check() // something listens in netra's place
	if err != nil || !report.Families[0].Captured || !report.Families[1].Captured {
		t.Errorf("Check with a listener = %v\n%v", err, report)
	}
	other := defaults()
	other.OutboundPort = 14999
	other.ExcludeCIDRs = nil
	p = mustPlan(t, other)
	if _, err := check(); err == nil || !strings.Contains(err.Error(), "is not applied") {
		t.Errorf("Check of another plan = %v", err)
	}
	apply(pod, p)
	report, err = check() // nothing listens there: Check does
	if err != nil || !report.Families[0].Captured || !report.Families[1].Captured {
		t.Errorf("Check without a listener = %v\n%v", err, report)
	}
}

func TestCheckFindsWhatIsNotCaptured(t *testing.T) { eachWay(t, testCheckFindsWhatIsNotCaptured) }

func testCheckFindsWhatIsNotCaptured(t *testing.T, apply func(netns, Plan)) {
	pod, _ := podAndPeer(t)
	p := mustPlan(t, defaults())
	apply(pod, p)
	pod.ip("route", "add", "blackhole", "192.0.2.0/24")
	var report Report
	var err error
	pod.do(func() { report, err = Check(t.Context(), p, Auto) })
	if err == nil || report.Families[0].Captured || !report.Families[1].Captured {
		t.Errorf("Check with IPv4's test address in a black hole = %v\n%v", err, report)
	}
}

func TestCheckTellsTheBackendsApart(t *testing.T) {
	pod, _ := podAndPeer(t)
	p := mustPlan(t, defaults())
	check := func(b Backend) (report Report, err error) {
		pod.do(func() { report, err = Check(t.Context(), p, b) })
		return report, err
	}
	pod.apply(p, IPTables)
	if report, err := check(IPTables); err != nil || report.By != "iptables (legacy)" {
		t.Errorf("Check of iptables where iptables applied = %v\n%v", err, report)
	}
	if _, err := check(NFTables); err == nil || !strings.Contains(err.Error(), "applied by iptables (legacy), not by nftables") {
		t.Errorf("Check of nftables where iptables applied = %v", err)
	}
	pod.apply(p, NFTables)
	if _, err := check(IPTables); err == nil || !strings.Contains(err.Error(), "applied by nftables, not by iptables") {
		t.Errorf("Check of iptables where nftables applied = %v", err)
	}
	// What Apply never does: rules of both.
	pod.run("iptables-legacy", "-t", "nat", "-N", inboundChain)
	if _, err := check(Auto); err == nil || !strings.Contains(err.Error(), "nftables and iptables (legacy) at once") {
		t.Errorf("Check with both applied = %v", err)
	}
}

func TestCheckFindsAChangedRule(t *testing.T) {
	pod, _ := podAndPeer(t)
	p := mustPlan(t, defaults())
	for name, c := range map[string]struct{ change, want string }{
		"a rule is gone":          {"-D " + outboundChain + " 1", `IPv4: comparing the rules of NETRA_OUTBOUND: "uid 1337: leave (netra's own traffic)" is not applied`},
		"a rule is new":           {"-I " + inboundChain + " -p tcp -j RETURN", `"-A NETRA_INBOUND -p tcp -j RETURN" is applied and is not in the plan`},
		"nothing leads there":     {"-F OUTPUT", `"TCP out of the pod" is not applied`},
		"something leads there":   {"-A PREROUTING -p tcp -m comment --comment theirs -j " + inboundChain, `"theirs" is applied and is not in the plan`},
		"the way there is double": {"-A PREROUTING -p tcp -m comment --comment 'TCP into the pod' -j " + inboundChain, "more than once"},
	} {
		pod.apply(p, IPTables)
		pod.run("sh", "-c", "iptables-legacy -t nat "+c.change)
		pod.do(func() {
			if _, err := Check(t.Context(), p, IPTables); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check where %s = %v, want %s", name, err, c.want)
			}
		})
	}
	pod.apply(p, IPTables)
	pod.do(func() {
		if _, err := Check(t.Context(), p, IPTables); err != nil {
			t.Errorf("Check after applying again = %v", err)
		}
	})
}

func TestWithoutIPv6InTheNamespace(t *testing.T) { eachWay(t, testWithoutIPv6InTheNamespace) }

func testWithoutIPv6InTheNamespace(t *testing.T, apply func(netns, Plan)) {
	pod, peer := podAndPeer(t)
	peer.serve(80, direct)
	pod.writeSysctl("ipv6/conf/all/disable_ipv6", "1")
	p := mustPlan(t, defaults())
	apply(pod, p)
	if got := pod.dial(0, peerV4+":80"); got != "captured on the way to "+peerV4+":80" {
		t.Errorf("with IPv6 disabled, out: %q", got)
	}
	if got := peer.dial(0, podV4+":80"); got != "captured on the way to "+podV4+":80" {
		t.Errorf("with IPv6 disabled, in: %q", got)
	}
	pod.do(func() {
		report, err := Check(t.Context(), p, Auto)
		if err != nil || !report.Families[0].Captured || !strings.Contains(report.Families[1].Skipped, "no route") {
			t.Errorf("Check with IPv6 disabled = %v\n%v", err, report)
		}
	})
}
