package redirect

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"
)

// A connection that was open before is not torn from its other end: conntrack
// sees it from the middle on, and must not take it for a new one.
func TestOpenConnectionsAreLeftAlone(t *testing.T) { eachWay(t, testOpenConnectionsAreLeftAlone) }

func testOpenConnectionsAreLeftAlone(t *testing.T, apply func(netns, Plan)) {
	pod, peer := podAndPeer(t)
	peer.echo(80)
	pod.echo(80)
	out, in := pod.open(peerV4+":80"), peer.open("["+podV6+"]:80")
	apply(pod, mustPlan(t, defaults()))
	for name, conn := range map[string]net.Conn{"out": out, "in": in} {
		if line, err := exchange(conn); err != nil || line != "hello\n" {
			t.Errorf("%s: the answer is %q (%v)", name, line, err)
		}
	}
	if got := pod.dial(0, peerV4+":80"); got != "captured on the way to "+peerV4+":80" {
		t.Errorf("a new connection: %q", got)
	}
}

func exchange(conn net.Conn) (string, error) {
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

// echo sends every connection to port its own lines back.
func (n netns) echo(port uint16) {
	n.t.Helper()
	n.listen(port, func(conn *net.TCPConn) {
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			fmt.Fprintln(conn, lines.Text())
		}
	})
}

// open returns a connection from the namespace.
func (n netns) open(to string) (conn net.Conn) {
	n.t.Helper()
	n.do(func() {
		var err error
		if conn, err = net.DialTimeout("tcp", to, 20*time.Second); err != nil {
			n.t.Error(err)
			return
		}
		n.t.Cleanup(func() { conn.Close() })
	})
	if conn == nil {
		n.t.FailNow()
	}
	return conn
}
