package redirect

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
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

func TestCheck(t *testing.T) {
	pod, _ := podAndPeer(t)
	p := mustPlan(t, defaults())
	check := func() (report Report, err error) {
		pod.do(func() { report, err = Check(t.Context(), p, Auto) })
		return report, err
	}
	if _, err := check(); err == nil || !strings.Contains(err.Error(), "no redirection is applied") {
		t.Errorf("Check before Apply = %v", err)
	}
	pod.apply(p, NFTables)
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
	pod.apply(p, NFTables)
	report, err = check() // nothing listens there: Check does
	if err != nil || !report.Families[0].Captured || !report.Families[1].Captured {
		t.Errorf("Check without a listener = %v\n%v", err, report)
	}
}

func TestCheckFindsWhatIsNotCaptured(t *testing.T) {
	pod, _ := podAndPeer(t)
	p := mustPlan(t, defaults())
	pod.apply(p, NFTables)
	pod.ip("route", "add", "blackhole", "192.0.2.0/24")
	var report Report
	var err error
	pod.do(func() { report, err = Check(t.Context(), p, Auto) })
	if err == nil || report.Families[0].Captured || !report.Families[1].Captured {
		t.Errorf("Check with IPv4's test address in a black hole = %v\n%v", err, report)
	}
}

func TestProgram(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "netra-init")
	command(t, "go", "build", "-o", binary, "../netra-init")
	pod, _ := podAndPeer(t)
	run := func(env string, args ...string) (string, error) {
		out, err := exec.Command("ip", append([]string{"netns", "exec", pod.name, "env", env, binary}, args...)...).CombinedOutput()
		return string(out), err
	}
	const half = "NETRA_OUTBOUND_PROBABILITY=0.5"
	if out, err := run(half, "--dry-run"); err != nil || !strings.Contains(out, "500000 in 1000000") || pod.installed() != nil {
		t.Errorf("--dry-run: %v\n%s\napplied: %v", err, out, pod.installed())
	}
	if out, err := run(half, "--check"); err == nil || !strings.Contains(out, "run netra-init first") {
		t.Errorf("--check before applying: %v\n%s", err, out)
	}
	for range 2 {
		if out, err := run(half); err != nil || !strings.Contains(out, "applied") {
			t.Errorf("applying: %v\n%s", err, out)
		}
	}
	if out, err := run(half, "--check"); err != nil || strings.Count(out, "was captured") != 2 {
		t.Errorf("--check: %v\n%s", err, out)
	}
	if out, err := run("NETRA_OUTBOUND_PROBABILITY=2", "--cleanup"); err != nil || pod.installed() != nil {
		t.Errorf("--cleanup: %v\n%s", err, out)
	}
}
