package redirect

import (
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Which backend auto takes, by what the kernel has and what is in PATH.
func TestAuto(t *testing.T) {
	all := slices.Concat(legacyPrograms, nftPrograms)
	for _, c := range []struct {
		name     string
		programs []string
		lacks    func(*testing.T)
		by       string
		says     []string // of the error
	}{
		{"everything", all, func(*testing.T) {}, "nftables", nil},
		{"no programs", nil, func(*testing.T) {}, "nftables", nil},
		{"no nf_tables", all, withoutNFTables, "iptables (legacy)", nil},
		{"no nf_tables, programs that need it", nftPrograms, withoutNFTables, "", []string{"neither backend", "CONFIG_NF_TABLES", "iptables-nft-save"}},
		{"no nf_tables, no programs", nil, withoutNFTables, "", []string{"neither backend", "CONFIG_NF_TABLES", "not all in PATH", "load nf_tables", "annotation formicarium.io/netra-redirect-backend: iptables"}},
		{"nothing", all, func(t *testing.T) {
			withoutNFTables(t)
			withoutLegacy(t, unix.AF_INET, unix.AF_INET6)
		}, "", []string{"CONFIG_NF_TABLES", "iptables-legacy-save", "iptables-nft-save"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			havePrograms(t, c.programs...)
			pod := newNetns(t)
			pod.do(func() {
				c.lacks(t)
				applied, err := Apply(t.Context(), mustPlan(t, defaults()), Auto)
				if applied.By != c.by || (err == nil) != (c.by != "") {
					t.Errorf("applied by %q (%v), want %q", applied.By, err, c.by)
				}
				for _, want := range c.says {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("the error lacks %q:\n%v", want, err)
					}
				}
			})
			if held := pod.holds(); held != c.by {
				t.Errorf("the kernel holds rules of %q, want %q", held, c.by)
			}
		})
	}
}

func TestIPTablesTakesTheKindThatWorks(t *testing.T) {
	pod := newNetns(t)
	pod.do(func() {
		withoutLegacy(t, unix.AF_INET, unix.AF_INET6)
		applied, err := Apply(t.Context(), mustPlan(t, defaults()), IPTables)
		if err != nil || applied.By != "iptables (nf_tables)" {
			t.Errorf("without legacy tables in the kernel: applied by %q (%v)", applied.By, err)
		}
	})
}

// A backend that was asked for is not replaced by the other.
func TestBackendAskedForIsMissing(t *testing.T) {
	pod := newNetns(t)
	pod.do(func() {
		withoutNFTables(t)
		var missing *missingError
		if _, err := Apply(t.Context(), mustPlan(t, defaults()), NFTables); !errors.As(err, &missing) || !strings.Contains(err.Error(), "formicarium.io/netra-redirect-backend: iptables") {
			t.Errorf("nftables without nf_tables = %v, want the way out", err)
		}
	})
	havePrograms(t)
	pod.do(func() {
		if _, err := Apply(t.Context(), mustPlan(t, defaults()), IPTables); err == nil || !strings.Contains(err.Error(), "not all in PATH") || !strings.Contains(err.Error(), wayOut) {
			t.Errorf("iptables without programs = %v", err)
		}
	})
	if held := pod.holds(); held != "" {
		t.Errorf("failing leaves rules of %s", held)
	}
}

// A kernel that lost nf_tables keeps the rules that work there.
func TestAutoOnARunAgainWithoutNFTables(t *testing.T) {
	pod := newNetns(t)
	pod.do(func() {
		withoutNFTables(t)
		for range 2 {
			if applied, err := Apply(t.Context(), mustPlan(t, defaults()), Auto); err != nil || applied.By != "iptables (legacy)" {
				t.Errorf("applied by %q (%v)", applied.By, err)
			}
		}
		var missing *missingError
		if _, err := Apply(t.Context(), mustPlan(t, defaults()), NFTables); !errors.As(err, &missing) {
			t.Errorf("nftables without nf_tables = %v", err)
		}
	})
	if held := pod.holds(); held != "iptables (legacy)" {
		t.Errorf("the kernel holds rules of %q", held)
	}
}

// switches are indices of ways: every one after every other, and after itself.
var switches = []int{0, 1, 0, 2, 1, 2, 0, 0, 1, 1, 2, 2}

// switchTo applies p in that way although the programs of all are there, of
// which Apply takes those of the kind legacy.
func (n netns) switchTo(way int, p Plan) {
	n.t.Helper()
	if ways[way].by != "iptables (nf_tables)" {
		n.apply(p, ways[way].backend)
		return
	}
	n.do(func() {
		variants := findVariants(n.t.Context())
		if len(variants) != 2 {
			n.t.Errorf("found the programs %v, want two kinds", variants)
			return
		}
		if _, err := applyVariant(n.t.Context(), p, variants[1]); err != nil {
			n.t.Error(err)
		}
	})
}

// The other backend's rules go, whichever it is, and a connection made at any
// moment of it is either captured once or left alone.
func TestSwitchingUnderTraffic(t *testing.T) {
	pod, peer := podAndPeer(t)
	peer.serve(80, direct)
	p := mustPlan(t, defaults())

	stop, stopped := make(chan struct{}), sync.WaitGroup{}
	stopped.Go(func() {
		to := [...]string{peerV4 + ":80", "[" + peerV6 + "]:80"}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			to := to[i%2]
			if got := pod.dial(0, to); got != "direct" && got != "captured on the way to "+to {
				t.Errorf("while backends are switched, to %s: %q", to, got)
			}
		}
	})
	for _, way := range switches {
		pod.switchTo(way, p)
		if held := pod.holds(); held != ways[way].by {
			t.Errorf("after switching to %s the kernel holds rules of %q", ways[way].by, held)
		}
		if got := pod.dial(0, peerV4+":80"); got != "captured on the way to "+peerV4+":80" {
			t.Errorf("after switching to %s: %q", ways[way].by, got)
		}
	}
	close(stop)
	stopped.Wait()
}

func TestSwitchingKeepsOpenConnections(t *testing.T) {
	pod, peer := podAndPeer(t)
	peer.echo(80)
	pod.echo(14999)
	s := defaults()
	s.OutboundPort = 14999
	p := mustPlan(t, s)
	before := pod.open(peerV4 + ":80")
	pod.switchTo(switches[0], p)
	captured := pod.open("[" + peerV6 + "]:80")
	for _, way := range switches {
		pod.switchTo(way, p)
		for name, conn := range map[string]net.Conn{"opened before": before, "captured": captured} {
			if line, err := exchange(conn); err != nil || line != "hello\n" {
				t.Fatalf("after switching to %s, on the connection %s: %q (%v)", ways[way].by, name, line, err)
			}
		}
	}
}

func TestCleanupRemovesBoth(t *testing.T) {
	pod := newNetns(t)
	p := mustPlan(t, defaults())
	pod.apply(p, IPTables)
	pod.do(func() {
		if err := replaceTable(p); err != nil { // which Apply would not do here
			t.Error(err)
		}
	})
	if held := pod.holds(); held != "nftables and iptables (legacy)" {
		t.Fatalf("the kernel holds rules of %q", held)
	}
	for range 2 {
		pod.do(func() {
			if err := Cleanup(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if held := pod.holds(); held != "" {
			t.Errorf("Cleanup leaves rules of %s", held)
		}
	}
	pod.do(func() {
		withoutNFTables(t)
		if err := Cleanup(t.Context()); err != nil {
			t.Errorf("Cleanup where the kernel has no nf_tables: %v", err)
		}
	})
}
