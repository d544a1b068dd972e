package node

import (
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// ownNetwork gives the test, and the programs that it runs, a network
// namespace of its own.
func ownNetwork(t *testing.T) {
	t.Helper()
	// The thread is never unlocked, so it ends with the test and no other
	// goroutine finds itself in there.
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace takes root: %v", err)
	}
}

// do runs commands, one a line.
func do(t *testing.T, commands string) {
	t.Helper()
	for line := range strings.Lines(commands) {
		if args := splitRule(strings.TrimSpace(line)); len(args) > 0 {
			if _, err := output(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// mapPort does what the plugin portmap does for a pod with a host port.
func mapPort(t *testing.T, program, to string) {
	t.Helper()
	do(t, strings.NewReplacer("IPT", program+" -t nat", "TO", to).Replace(`
		IPT -N CNI-HOSTPORT-DNAT
		IPT -N CNI-HOSTPORT-SETMARK
		IPT -N CNI-DN-0123456789abcdef
		IPT -A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
		IPT -A CNI-DN-0123456789abcdef -p tcp --dport 30999 -j DNAT --to-destination TO
		IPT -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"fmc-e2e\" id: \"17\"" -m multiport --dports 30999 -j CNI-DN-0123456789abcdef
		IPT -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
		IPT -A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT`))
}

func TestRemovePortMappings(t *testing.T) {
	ownNetwork(t)
	b := before{Sysctls: map[string]string{}}
	mapPort(t, "iptables", "10.73.1.1:9")
	mapPort(t, "ip6tables", "[fdfc:e2e:49::5]:9")
	// Somebody else's rule, made while the node ran.
	do(t, "iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE")
	if rules, err := allPortMappings(t.Context()); err != nil || len(rules) != 16 {
		t.Fatalf("found %d of 16 rules and chains (%v): %q", len(rules), err, rules)
	}
	if err := b.removePortMappings(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rules, err := allPortMappings(t.Context()); err != nil || len(rules) > 0 {
		t.Errorf("left: %q (%v)", rules, err)
	}
	have, err := tables(t.Context())
	if err != nil || !slices.Equal(have, []string{"ip nat"}) {
		t.Errorf("tables: got %q (%v), want only the one with somebody else's rule", have, err)
	}
}

func TestForeignPortMappingsStay(t *testing.T) {
	ownNetwork(t)
	mapPort(t, "iptables", "10.1.1.1:9")
	for name, b := range map[string]before{"there before": {Sysctls: map[string]string{}, HadPortMappings: true}, "no record": {}} {
		if err := b.removePortMappings(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rules, err := allPortMappings(t.Context()); err != nil || len(rules) != 8 {
			t.Errorf("%s: left %d of 8 (%v)", name, len(rules), err)
		}
	}
}

// What is made for the network is all found and removed again, and nothing
// else is.
func TestNetworkComesAndGoes(t *testing.T) {
	ownNetwork(t)
	l := testLayout(t.TempDir())
	do(t, "nft add table inet theirs\nip link add theirs type bridge")
	b, err := render("masquerade.nft", l.values())
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(l.config("masquerade.nft"), b); err != nil {
		t.Fatal(err)
	}
	if err := makeBridge(t.Context(), l.config("masquerade.nft")); err != nil {
		t.Fatal(err)
	}
	do(t, "ip link add fmc-test0 type veth peer name fmc-test1\nip link set fmc-test0 master "+Bridge)
	if own, err := ownLinks(t.Context()); err != nil || !slices.Equal(own, []string{"fmc-test0", Bridge}) {
		t.Errorf("own links: %q (%v)", own, err)
	}
	if err := removeLinks(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := (before{}).removeTables(t.Context()); err != nil {
		t.Fatal(err)
	}
	if own, err := ownLinks(t.Context()); err != nil || len(own) > 0 {
		t.Errorf("links left: %q (%v)", own, err)
	}
	if have, err := tables(t.Context()); err != nil || !slices.Equal(have, []string{"inet theirs"}) {
		t.Errorf("tables left: %q (%v)", have, err)
	}
	if _, err := output(t.Context(), "ip", "link", "show", "theirs"); err != nil {
		t.Errorf("somebody else's bridge is gone: %v", err)
	}
}
