package main

import (
	"strings"
	"testing"
)

// TestDatabases has the clients of Redis and MariaDB talk to their servers from
// within a pod. MariaDB speaks first.
func TestDatabases(t *testing.T) {
	pod, peer, spans, stop := captured(t)
	peer.program(peerV4+":6379", "redis-server", "--port", "6379", "--bind", peerV4, "--protected-mode", "no", "--save", "", "--dir", t.TempDir())
	data := t.TempDir()
	peer.program(peerV4+":3306", "mariadbd", "--no-defaults", "--user=root", "--datadir="+data, "--socket="+data+"/socket", "--pid-file="+data+"/pid",
		"--bind-address="+peerV4, "--port=3306", "--skip-grant-tables", "--skip-name-resolve", "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M")

	redis := func(args ...string) string {
		return pod.output("redis-cli", append([]string{"-h", peerV4}, args...)...)
	}
	redis("set", "orders", "17")
	if got := redis("get", "orders"); got != "17\n" {
		t.Errorf("redis-cli printed %q", got)
	}
	large := strings.Repeat("x", 1<<20)
	mysql := func(statements string) string {
		return pod.output("mariadb", "--no-defaults", "--protocol=tcp", "--host="+peerV4, "--user=shop", "--skip-column-names", "--max-allowed-packet=64M", "--execute="+statements)
	}
	if got := mysql("create database shop; use shop; create table orders (id int); insert into orders values (17), (18); select sum(id) from orders"); got != "35\n" {
		t.Errorf("mariadb printed %q", got)
	}
	if got := mysql("select repeat('x', 1048576)"); got != large+"\n" {
		t.Errorf("mariadb printed %d bytes, %.20q", len(got), got)
	}
	for protocol, address := range map[string]string{"redis": peerV4 + ":6379", "mysql": peerV4 + ":3306"} {
		for _, s := range spans.await(t, 2, protocol, having(map[string]string{"net.protocol.name": protocol})) {
			if s.OperationName != "TCP "+protocol || tag(s, "span.kind") != "client" || tag(s, "peer.address") != address || anyTag(s, "error") != "" {
				t.Errorf("the span says %+v", s)
			}
			// MariaDB is told that the client is going, and may be the first to.
			if got := tag(s, "net.close_reason"); got != "client" && (protocol != "mysql" || got != "server") {
				t.Errorf("%s: closed by %q", protocol, got)
			}
			if sent, received := anyTag(s, "net.bytes_sent"), anyTag(s, "net.bytes_received"); len(sent) < 2 || received == "0" {
				t.Errorf("%s: %s bytes sent and %s received", protocol, sent, received)
			}
		}
	}
	if err := stop(); err != nil {
		t.Errorf("netra ended with %v", err)
	}
}
