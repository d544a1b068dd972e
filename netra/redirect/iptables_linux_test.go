package redirect

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tables are what iptables-save shows of both families, without times and
// counters.
func (n netns) tables(kind string) string {
	n.t.Helper()
	text := n.run("iptables-"+kind+"-save", "-t", "nat") + n.run("ip6tables-"+kind+"-save", "-t", "nat")
	text = regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, "")
	return regexp.MustCompile(`\[\d+:\d+\]`).ReplaceAllString(text, "[0:0]")
}

var kinds = map[string][]string{"legacy": legacyPrograms, "nft": nftPrograms}

// Applying again leaves the same, removing leaves what was there before, and
// what is somebody else's stays in its place.
func TestIPTablesApplyTwiceAndCleanup(t *testing.T) {
	for kind, programs := range kinds {
		t.Run(kind, func(t *testing.T) {
			havePrograms(t, append(programs, "iptables-"+kind)...)
			pod := newNetns(t)
			for _, rule := range []string{"-N THEIRS", "-A THEIRS -p udp -j RETURN", "-A PREROUTING -j THEIRS", "-A OUTPUT -d 192.0.2.9/32 -j THEIRS"} {
				pod.run("iptables-"+kind, strings.Fields("-t nat "+rule)...)
			}
			theirs := pod.tables(kind)

			s := defaults()
			s.Inbound.Probability = 0.5
			s.Outbound.ExcludePorts = []uint16{25}
			pod.apply(mustPlan(t, s), IPTables)
			first := pod.tables(kind)
			if !strings.Contains(first, "0.5") || !strings.Contains(first, "--dports 25 ") || !strings.Contains(first, "THEIRS -p udp") {
				t.Errorf("applied:\n%s", first)
			}
			pod.run("iptables-"+kind, strings.Fields("-t nat -A OUTPUT -j THEIRS")...)
			pod.run("iptables-"+kind, strings.Fields("-t nat -D OUTPUT -j THEIRS")...)
			pod.apply(mustPlan(t, s), IPTables)
			if second := pod.tables(kind); first != second {
				t.Errorf("applying again leaves other rules:\n%s\n%s", first, second)
			}
			pod.apply(mustPlan(t, defaults()), IPTables)
			if third := pod.tables(kind); strings.Contains(third, "0.5") || strings.Count(third, "-j NETRA_") != 4 {
				t.Errorf("applying another plan does not replace the first:\n%s", third)
			}
			pod.do(func() {
				if err := Cleanup(t.Context()); err != nil {
					t.Error(err)
				}
			})
			if left := pod.tables(kind); left != theirs {
				t.Errorf("Cleanup leaves\n%s\nwhere there was\n%s", left, theirs)
			}
		})
	}
}

// However often the two rules that lead to the chains are there, and with
// whatever conditions, one of each is left.
func TestIPTablesMendsTheJumps(t *testing.T) {
	pod := newNetns(t)
	p := mustPlan(t, defaults())
	pod.apply(p, IPTables)
	want := pod.tables("legacy")
	for _, rule := range []string{
		"-A PREROUTING -p tcp -m statistic --mode random --probability 0.5 -j NETRA_INBOUND",
		"-I OUTPUT -p tcp -j NETRA_OUTBOUND", "-A OUTPUT -p tcp -g NETRA_OUTBOUND",
	} {
		pod.run("iptables-legacy", strings.Fields("-t nat "+rule)...)
	}
	pod.run("ip6tables-legacy", "-t", "nat", "-F", "OUTPUT")
	pod.apply(p, IPTables)
	if got := pod.tables("legacy"); got != want {
		t.Errorf("applying mends to\n%s\nwant\n%s", got, want)
	}
}

func TestIPTablesManyPorts(t *testing.T) {
	eachWay(t, func(t *testing.T, apply func(netns, Plan)) {
		pod, peer := podAndPeer(t)
		peer.serve(4000, direct)
		peer.serve(5999, direct)
		s := defaults()
		for port := uint16(1); port < 6000; port += 2 {
			s.Outbound.ExcludePorts = append(s.Outbound.ExcludePorts, port)
		}
		apply(pod, mustPlan(t, s))
		if got := pod.dial(0, peerV4+":5999"); got != "direct" {
			t.Errorf("to an excluded port: %q", got)
		}
		if got := pod.dial(0, peerV4+":4000"); got != "captured on the way to "+peerV4+":4000" {
			t.Errorf("to another port: %q", got)
		}
	})
}

// A program that holds the xtables lock is waited for.
func TestIPTablesWaitsForTheLock(t *testing.T) {
	pod := newNetns(t)
	path := filepath.Join(t.TempDir(), "xtables.lock")
	t.Setenv("XTABLES_LOCKFILE", path)
	lock, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	info, err := lock.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// The kernel lists who waits for a lock after an arrow.
	waiter := regexp.MustCompile(fmt.Sprintf(`(?m)-> FLOCK .*:%d 0 EOF$`, info.Sys().(*syscall.Stat_t).Ino))
	done := make(chan struct{})
	go func() {
		defer close(done)
		pod.apply(mustPlan(t, defaults()), IPTables)
	}()
	deadline := time.After(20 * time.Second)
	for waiting := false; !waiting; {
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		waiting = waiter.Match(locks)
		select {
		case <-done:
			t.Fatal("Apply did not wait for the lock")
		case <-deadline:
			t.Fatalf("nobody waits for the lock:\n%s", locks)
		case <-time.After(5 * time.Millisecond):
		}
	}
	if held := pod.holds(); held != "" {
		t.Errorf("while another program has the lock there are rules of %s", held)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	<-done
	if held := pod.holds(); held != "iptables (legacy)" {
		t.Errorf("after the other program is done there are rules of %q", held)
	}
}

// As in the container that the webhook makes: NET_ADMIN and NET_RAW alone, no
// new privileges, and a root where nothing can be written, /run included.
func TestIPTablesInAContainer(t *testing.T) {
	binary := buildProgram(t)
	inside := func(pod netns, capabilities string) (string, error) {
		script := "mount --make-rprivate / && mount -t tmpfs -o ro tmpfs /run && mount -o remount,bind,ro / && ! touch /fmc-written 2>/dev/null && " +
			"exec setpriv --no-new-privs --bounding-set " + capabilities + " --inh-caps " + capabilities + " " + binary
		var out []byte
		var err error
		pod.do(func() {
			cmd := exec.Command("unshare", "--mount", "sh", "-c", script)
			cmd.Env = append(os.Environ(), "NETRA_REDIRECT_BACKEND=iptables")
			out, err = cmd.CombinedOutput()
		})
		return string(bytes.TrimSpace(out)), err
	}
	pod := newNetns(t)
	if out, err := inside(pod, "-all,+net_admin,+net_raw"); err != nil || pod.holds() != "iptables (legacy)" {
		t.Errorf("with a read-only root: %v\n%s", err, out)
	}
	other := newNetns(t)
	havePrograms(t, append(legacyPrograms, "unshare", "sh", "mount", "touch", "setpriv")...)
	if out, err := inside(other, "-all,+net_admin"); err == nil || !strings.Contains(out, "NET_RAW") {
		t.Errorf("without NET_RAW: %v, and the error does not name it\n%s", err, out)
	}
}

func TestIPTablesWithoutIPv6InTheKernel(t *testing.T) {
	havePrograms(t, legacyPrograms...)
	pod, peer := podAndPeer(t)
	peer.serve(80, direct)
	p := mustPlan(t, defaults())
	pod.do(func() {
		withoutLegacy(t, unix.AF_INET6)
		applied, err := Apply(t.Context(), p, IPTables)
		if err != nil || len(applied.Notes) != 1 || !strings.Contains(applied.Notes[0], "IPv6 is not redirected") {
			t.Errorf("without IPv6's nat table: %+v (%v), want a note", applied, err)
		}
		report, err := Check(t.Context(), p, IPTables)
		if err != nil || !report.Families[0].Captured || !strings.Contains(report.Families[1].Skipped, "no nat table") {
			t.Errorf("Check without IPv6's nat table = %v\n%v", err, report)
		}
	})
	for to, want := range map[string]string{peerV4 + ":80": "captured on the way to " + peerV4 + ":80", "[" + peerV6 + "]:80": "direct"} {
		if got := pod.dial(0, to); got != want {
			t.Errorf("to %s: %q, want %q", to, got, want)
		}
	}
}

// Where IPv6 fails, IPv4 is as it was before.
func TestIPTablesTakesBackHalfAChange(t *testing.T) {
	pod := newNetns(t)
	pod.apply(mustPlan(t, defaults()), IPTables)
	before := pod.tables("legacy")

	s := defaults()
	s.Outbound.Probability = 0.5
	broken := []string{"iptables-legacy-save", "iptables-legacy-restore", "ip6tables-legacy-save"}
	havePrograms(t, broken...)
	if err := os.Symlink("/bin/false", filepath.Join(os.Getenv("PATH"), "ip6tables-legacy-restore")); err != nil {
		t.Fatal(err)
	}
	pod.do(func() {
		if _, err := Apply(t.Context(), mustPlan(t, s), IPTables); err == nil || !strings.Contains(err.Error(), "ip6tables-legacy-restore") {
			t.Errorf("Apply with a restore that fails = %v", err)
		}
	})
	if after := pod.tables("legacy"); after != before {
		t.Errorf("a failed Apply leaves\n%s\nwhere there was\n%s", after, before)
	}
}
