package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// netns is a network namespace made by a test.
type netns struct {
	t    *testing.T
	name string
}

func newNetns(t *testing.T, name string) netns {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	n := netns{t, fmt.Sprintf("fmc-netra-%s-%d", name, os.Getpid())}
	n.command("netns", "add", n.name)
	t.Cleanup(func() { n.command("netns", "del", n.name) })
	n.ip("link", "set", "lo", "up")
	return n
}

func (n netns) command(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (n netns) ip(args ...string) {
	n.t.Helper()
	n.command(append([]string{"-n", n.name}, args...)...)
}

// do runs f on a thread inside the namespace. Sockets and processes that f
// makes belong to the namespace for good.
func (n netns) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		file, err := os.Open("/run/netns/" + n.name)
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func (n netns) listen(address string) net.Listener {
	n.t.Helper()
	var l net.Listener
	if err := n.do(func() (err error) { l, err = net.Listen("tcp", address); return err }); err != nil {
		n.t.Fatalf("listening in %s: %v", n.name, err)
	}
	n.t.Cleanup(func() { l.Close() })
	return l
}

func (n netns) dial(address string) (conn net.Conn, err error) {
	err = n.do(func() (err error) { conn, err = net.DialTimeout("tcp", address, patience); return err })
	return conn, err
}

const (
	podV4, podV6   = "10.77.0.1", "fd77::1"
	peerV4, peerV6 = "10.77.0.2", "fd77::2"
	// A second pod's, and the peer's towards it.
	otherV4, otherPeerV4 = "10.78.0.1", "10.78.0.2"
)

// podAndPeer returns a pod's namespace and one of the rest of the world, joined
// by a veth pair.
func podAndPeer(t *testing.T) (pod, peer netns) {
	t.Helper()
	pod, peer = newNetns(t, "pod"), newNetns(t, "peer")
	pod.join(peer, "eth0")
	for _, end := range []struct {
		netns
		v4, v6 string
	}{{pod, podV4, podV6}, {peer, peerV4, peerV6}} {
		end.ip("addr", "add", end.v4+"/24", "dev", "eth0")
		end.ip("addr", "add", end.v6+"/64", "dev", "eth0", "nodad")
	}
	return pod, peer
}

// otherPod returns the namespace of another pod, joined to the peer.
func otherPod(t *testing.T, peer netns) netns {
	t.Helper()
	pod := newNetns(t, "other")
	pod.join(peer, "eth1")
	pod.ip("addr", "add", otherV4+"/24", "dev", "eth0")
	peer.ip("addr", "add", otherPeerV4+"/24", "dev", "eth1")
	return pod
}

// join makes a veth pair from n's eth0 to the peer's interface of that name.
func (n netns) join(peer netns, name string) {
	n.t.Helper()
	n.ip("link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", peer.name)
	n.ip("link", "set", "eth0", "up")
	peer.ip("link", "set", name, "up")
}
