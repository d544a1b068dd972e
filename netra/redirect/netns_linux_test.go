package redirect

import (
	"bufio"
	"fmt"
	"net"
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

// run runs a program inside the namespace.
func (n netns) run(name string, args ...string) string {
	n.t.Helper()
	return command(n.t, "ip", append([]string{"netns", "exec", n.name, name}, args...)...)
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
	n.listen(port, func(conn *net.TCPConn) { fmt.Fprintln(conn, answer(conn)) })
}

// listen hands every connection to port to handle, and closes it afterwards.
func (n netns) listen(port uint16, handle func(*net.TCPConn)) {
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
				go func() {
					defer conn.Close()
					handle(conn.(*net.TCPConn))
				}()
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
		conn, err := net.DialTimeout("tcp", to, 20*time.Second)
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

// holds returns which backends hold rules of netra's.
func (n netns) holds() string {
	n.t.Helper()
	var found []string
	n.do(func() {
		table, err := installedTable()
		if err != nil {
			n.t.Error(err)
		}
		if table != nil {
			found = append(found, string(NFTables))
		}
		holdings, err := iptablesHoldings(n.t.Context())
		if err != nil {
			n.t.Error(err)
		}
		for _, h := range holdings {
			found = append(found, h.String())
		}
	})
	return strings.Join(found, " and ")
}

// writeSysctl sets one of the namespace's own values below net.
func (n netns) writeSysctl(name, value string) {
	n.t.Helper()
	n.do(func() {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
			n.t.Error(err)
		}
	})
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
