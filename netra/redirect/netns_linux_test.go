package redirect

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netns is a network namespace made by a test.
type netns struct {
	t    *testing.T
	name string
}

var netnsCount atomic.Int64

func newNetns(t *testing.T) netns {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	n := netns{t, fmt.Sprintf("fmc-redirect-%d-%d", os.Getpid(), netnsCount.Add(1))}
	command(t, "ip", "netns", "add", n.name)
	t.Cleanup(func() { command(t, "ip", "netns", "del", n.name) })
	n.ip("link", "set", "lo", "up")
	return n
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (n netns) ip(args ...string) {
	n.t.Helper()
	command(n.t, "ip", append([]string{"-n", n.name}, args...)...)
}

// do runs f on a thread inside the namespace; whatever f changes of the thread
// (its user, say) ends with it.
func (n netns) do(f func()) {
	n.t.Helper()
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		failed <- func() error {
			file, err := os.Open("/run/netns/" + n.name)
			if err != nil {
				return err
			}
			defer file.Close()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("entering %s: %w", n.name, err)
			}
			f()
			return nil
		}()
	}()
	if err := <-failed; err != nil {
		n.t.Fatal(err)
	}
}

// serve answers every connection to port, in both families, with a line.
func (n netns) serve(port uint16, answer func(*net.TCPConn) string) {
	n.t.Helper()
	n.do(func() {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			n.t.Error(err)
			return
		}
		n.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(conn, answer(conn.(*net.TCPConn)))
				conn.Close()
			}
		}()
	})
}

func direct(*net.TCPConn) string { return "direct" }

func captured(conn *net.TCPConn) string {
	dst, err := originalDestination(conn)
	if err != nil {
		return "captured, but: " + err.Error()
	}
	return "captured on the way to " + dst.String()
}

// dial returns the line that answers a connection from the namespace by uid.
func (n netns) dial(uid int, to string) string {
	n.t.Helper()
	var line string
	n.do(func() {
		// The raw call changes this thread alone.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			line = "setresuid: " + errno.Error()
			return
		}
		conn, err := net.DialTimeout("tcp", to, 5*time.Second)
		if err != nil {
			line = err.Error()
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		line, err = bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			line = err.Error()
		}
	})
	return strings.TrimSpace(line)
}

func (n netns) apply(p Plan, b Backend) (applied Applied) {
	n.t.Helper()
	n.do(func() {
		var err error
		if applied, err = Apply(n.t.Context(), p, b); err != nil {
			n.t.Error(err)
		}
	})
	return applied
}

// ways are the ways in which a plan gets into the kernel. Every one of them has
// to treat real connections alike.
var ways = []struct {
	by       string
	backend  Backend
	programs []string
}{
	{"nftables", NFTables, nil},
	{"iptables (legacy)", IPTables, legacyPrograms},
	{"iptables (nf_tables)", IPTables, nftPrograms},
}

var (
	legacyPrograms = []string{"iptables-legacy-save", "iptables-legacy-restore", "ip6tables-legacy-save", "ip6tables-legacy-restore"}
	nftPrograms    = []string{"iptables-nft-save", "iptables-nft-restore", "ip6tables-nft-save", "ip6tables-nft-restore"}
)

// eachWay runs f with each of the ways, where PATH has its programs alone.
func eachWay(t *testing.T, f func(t *testing.T, apply func(netns, Plan))) {
	for _, way := range ways {
		t.Run(way.by, func(t *testing.T) {
			havePrograms(t, way.programs...)
			f(t, func(n netns, p Plan) {
				t.Helper()
				if by := n.apply(p, way.backend).By; by != way.by {
					t.Errorf("applied by %q, want %q", by, way.by)
				}
			})
		})
	}
}

// havePrograms lets PATH have these programs and what the tests run themselves.
func havePrograms(t *testing.T, programs ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append([]string{"ip", "nft"}, programs...) {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("finding the programs that this test runs (make deps installs them): %v", err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

const (
	podV4, podV6   = "10.77.0.1", "fd77::1"
	peerV4, peerV6 = "10.77.0.2", "fd77::2"
	excludedV4     = "10.88.0.2"
	excludedV6     = "fd88::2"
	metadataV4     = "169.254.169.254"
	metadataV6     = "fd00:ec2::254"
)

// podAndPeer returns a pod's namespace and one of somebody else's, joined by a
// veth pair. The pod's routes lead to the peer, which has all the addresses.
// In the pod, something answers in netra's place.
func podAndPeer(t *testing.T) (pod, peer netns) {
	t.Helper()
	pod, peer = newNetns(t), newNetns(t)
	pod.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", peer.name)
	pod.ip("link", "set", "eth0", "up")
	peer.ip("link", "set", "eth0", "up")
	pod.ip("addr", "add", podV4+"/24", "dev", "eth0")
	pod.ip("addr", "add", podV6+"/64", "dev", "eth0", "nodad")
	for _, a := range []string{peerV4 + "/24", excludedV4 + "/32", metadataV4 + "/32"} {
		peer.ip("addr", "add", a, "dev", "eth0")
	}
	for _, a := range []string{peerV6 + "/64", excludedV6 + "/128", metadataV6 + "/128"} {
		peer.ip("addr", "add", a, "dev", "eth0", "nodad")
	}
	pod.ip("route", "add", "default", "via", peerV4)
	pod.ip("-6", "route", "add", "default", "via", peerV6)
	pod.serve(14955, captured)
	pod.serve(14956, captured)
	return pod, peer
}

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
				conn, err := net.DialTimeout("tcp", to, 5*time.Second)
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
