package redirect

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

func (n netns) installed() (rules map[Hook][]string) {
	n.t.Helper()
	n.do(func() {
		var err error
		if rules, err = installedTable(); err != nil {
			n.t.Error(err)
		}
	})
	return rules
}

func TestApplyTwiceAndCleanup(t *testing.T) {
	pod := newNetns(t)
	// A table of somebody else's has to survive all of it.
	pod.do(func() {
		conn, err := nftables.New()
		if err != nil {
			t.Error(err)
			return
		}
		conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "theirs"})
		if err := conn.Flush(); err != nil {
			t.Error(err)
		}
		if err := Cleanup(t.Context()); err != nil {
			t.Errorf("Cleanup where nothing is applied: %v", err)
		}
	})
	s := defaults()
	s.Inbound.Probability = 0.5
	s.Outbound.ExcludePorts = []uint16{25}
	p := mustPlan(t, s)
	pod.apply(p, NFTables)
	first := pod.installed()
	if len(first[Prerouting]) != len(p.Inbound.Rules) || len(first[Output]) != len(p.Outbound.Rules) {
		t.Errorf("applied %d and %d rules, want %d and %d", len(first[Prerouting]), len(first[Output]), len(p.Inbound.Rules), len(p.Outbound.Rules))
	}
	pod.apply(p, NFTables)
	if second := pod.installed(); !reflect.DeepEqual(first, second) {
		t.Errorf("applying again leaves other rules:\n%q\n%q", first, second)
	}
	pod.apply(mustPlan(t, defaults()), NFTables)
	if diff := mustPlan(t, defaults()).Outbound.differs(pod.installed()[Output]); diff != "" {
		t.Errorf("applying another plan does not replace the first: %s", diff)
	}
	pod.do(func() {
		for range 2 {
			if err := Cleanup(t.Context()); err != nil {
				t.Error(err)
			}
		}
		conn, _ := nftables.New()
		tables, err := conn.ListTables()
		if err != nil || len(tables) != 1 || tables[0].Name != "theirs" {
			t.Errorf("after Cleanup there are the tables %v (%v), want theirs alone", tables, err)
		}
	})
	if left := pod.installed(); left != nil {
		t.Errorf("Cleanup leaves %q", left)
	}
}

func TestApplyManyRules(t *testing.T) {
	pod := newNetns(t)
	s := defaults()
	for port := uint16(1); port < 6000; port += 2 {
		s.Outbound.ExcludePorts = append(s.Outbound.ExcludePorts, port)
	}
	p := mustPlan(t, s)
	pod.apply(p, NFTables)
	if diff := p.Outbound.differs(pod.installed()[Output]); diff != "" {
		t.Error(diff)
	}
}

func TestApplyWithoutTheCapability(t *testing.T) {
	pod := newNetns(t)
	pod.do(func() {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			t.Error(errno)
			return
		}
		_, err := Apply(t.Context(), mustPlan(t, defaults()), Auto)
		if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "NET_ADMIN") {
			t.Errorf("Apply without rights = %v, want one that names NET_ADMIN", err)
		}
	})
}

func TestProbeNamesTheFirstMissingFeature(t *testing.T) {
	for failing, want := range []string{"CONFIG_NF_TABLES,", "CONFIG_NFT_NAT", "CONFIG_NFT_REDIR", "CONFIG_NFT_NUMGEN", ""} {
		step := 0
		got, _ := probe(func(func(*nftables.Conn, *nftables.Table)) error {
			if step++; step > failing {
				return unix.ENOENT
			}
			return nil
		})
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("with step %d failing: %q, want %q", failing+1, got, want)
		}
	}
	pod := newNetns(t)
	pod.do(func() {
		if got, err := probe(try); err != nil {
			t.Errorf("this kernel lacks %s: %v", got, err)
		}
		conn, _ := nftables.New()
		if tables, err := conn.ListTables(); err != nil || len(tables) != 0 {
			t.Errorf("probing leaves %v (%v)", tables, err)
		}
	})
	if err := explain(fmt.Errorf("opening: %w", unix.EPROTONOSUPPORT)); !strings.Contains(err.Error(), "CONFIG_NF_TABLES") {
		t.Errorf("without netfilter netlink: %v", err)
	}
}
