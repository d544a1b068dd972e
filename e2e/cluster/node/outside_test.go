package node

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// neighbour is another machine: a network namespace on a link of this one.
type neighbour struct {
	*testing.T
	link, pid string
}

// newNeighbour joins one by a link whose end here is called link.
func newNeighbour(t *testing.T, link, address string) neighbour {
	t.Helper()
	machine := exec.CommandContext(t.Context(), "sleep", "1000")
	machine.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = machine.Process.Kill()
		_ = machine.Wait() // killed
	})
	n := neighbour{t, link, strconv.Itoa(machine.Process.Pid)}
	do(t, fmt.Sprintf("ip link add %s type veth peer name %s-far\nip link set %s-far netns %s\nip link set %s up", link, link, link, n.pid, link))
	n.do("ip address add " + address + " dev " + link + "-far")
	n.do("ip link set " + link + "-far up")
	return n
}

func (n neighbour) do(command string) {
	n.Helper()
	if _, err := output(n.Context(), append([]string{"nsenter", "--net", "-t", n.pid}, strings.Fields(command)...)...); err != nil {
		n.Fatal(err)
	}
}

// send sends a datagram that says who sent it, and where to.
func (n neighbour) send(to string) {
	n.Helper()
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		n.Fatal(err)
	}
	if _, err := output(n.Context(), "nsenter", "--net", "-t", n.pid, "bash", "-c", "echo -n "+n.link+" "+to+" > /dev/udp/"+host+"/"+port); err != nil {
		n.Fatal(err)
	}
}

// A neighbour reaches neither the pods nor the node, also not by a service; the
// pods reach the node, and the neighbour the machine.
func TestNobodyOutsideReachesThePods(t *testing.T) {
	ownNetwork(t)
	l := testLayout(t.TempDir())
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
	do(t, "ip address add 192.0.2.1/24 dev lo") // the machine's
	outside := newNeighbour(t, "out0", "198.51.100.2/24")
	do(t, "ip address add 198.51.100.1/24 dev out0")
	outside.do("ip route add default via 198.51.100.1")
	pod := newNeighbour(t, "pod0", PodRangeStart+bits(PodSubnet))
	do(t, "ip link set pod0 master "+Bridge)
	// As kube-proxy has it.
	do(t, "nft add table ip proxy\n"+
		"nft add chain ip proxy in {type nat hook prerouting priority dstnat;}\n"+
		"nft add rule ip proxy in ip daddr "+ServiceAddress+" dnat to "+NodeAddress)

	received := make(chan string, 10)
	conn, err := net.ListenPacket("udp4", "0.0.0.0:7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		for {
			text := make([]byte, 64)
			n, _, err := conn.ReadFrom(text)
			if err != nil {
				return
			}
			received <- string(text[:n])
		}
	}()
	outside.send(NodeAddress + ":7")
	outside.send(PodRangeStart + ":7")
	outside.send(ServiceAddress + ":7")
	outside.send("192.0.2.1:7")
	pod.send(NodeAddress + ":7")
	got := map[string]bool{}
	for len(got) < 2 {
		select {
		case text := <-received:
			if got[text] = true; text != "out0 192.0.2.1:7" && text != "pod0 "+NodeAddress+":7" {
				t.Errorf("received %q", text)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("received %v, want what a pod sent to the node and the neighbour to the machine", got)
		}
	}
	rules, err := output(t.Context(), "nft", "list", "table", "ip", Name)
	if err != nil {
		t.Fatal(err)
	}
	// To the node and the pod; to the service.
	if !strings.Contains(rules, "counter packets 2 ") || !strings.Contains(rules, "counter packets 1 ") {
		t.Errorf("rules:\n%s\nwant two and one packets dropped", rules)
	}
}
