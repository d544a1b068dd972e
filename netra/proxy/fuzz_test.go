package proxy

import (
	"bytes"
	"net"
	"testing"
)

// maxScript bounds what each end sends, in bytes: more than a head may have,
// and than one window holds.
const maxScript = 80 << 10

// maxTurns bounds the turns: a look at all that has arrived ends each of them.
const maxTurns = 64

// FuzzThroughProxy has two ends talk to each other, once directly and once
// through the proxy: as to an application, as from one, and both in a row. Each
// end must receive the same bytes, but for inserted fields, and the same end.
func FuzzThroughProxy(f *testing.F) {
	client, server := start(f), start(f)
	accepted := make(chan *net.TCPConn)
	backend := listen(f)
	go func() {
		for {
			conn, err := backend.Accept()
			if err != nil {
				return
			}
			accepted <- conn.(*net.TCPConn)
		}
	}()
	server.to(backend)
	connect := func(t *testing.T, to net.Listener) (*net.TCPConn, *net.TCPConn) {
		near := dial(t, to)
		far := <-accepted
		deadline(near, far)
		return near, far
	}
	f.Fuzz(func(t *testing.T, clientSays, serverSays, cuts []byte, shape uint8) {
		if len(clientSays) > maxScript || len(serverSays) > maxScript || len(cuts) > maxTurns {
			return
		}
		s := script{client: clientSays, server: serverSays, cuts: cuts, ending: ending(shape % uint8(endings))}
		near, far := connect(t, backend)
		_, _, err := s.play(t, near, far)
		if err != nil {
			t.Fatalf("without a proxy: %v", err)
		}
		to := server.inbound
		switch shape / uint8(endings) % 3 {
		case 1:
			to = server.outbound
		case 2:
			client.to(server.inbound)
			to = client.outbound
		}
		near, far = connect(t, to)
		atClient, atServer, err := s.play(t, near, far)
		if err != nil {
			t.Fatalf("through a proxy: %v", err)
		}
		if got := atClient.bytes; !bytes.Equal(got, serverSays) {
			t.Errorf("the client received %q\nthe server sent %q", got, serverSays)
		}
		if err := s.alike(atServer.bytes); err != nil {
			t.Errorf("the server: %v", err)
		}
		for _, r := range []*rig{client, server} {
			eventually(t, func() bool { return r.proxy.Open() == 0 })
			if n := r.metrics.Panics.Load(); n != 0 {
				t.Errorf("%d faults", n)
			}
			r.spans.mu.Lock()
			r.spans.spans = nil
			r.spans.mu.Unlock()
		}
	})
}
