package proxy

import (
	"io"
	"net"
	"testing"
)

// A client that has closed resets what still comes, and acknowledges none of
// it: nothing is left to wait for.
func TestNothingIsUnsentAfterAReset(t *testing.T) {
	accepted := make(chan *net.TCPConn)
	ended := make(chan struct{})
	defer close(ended)
	client := dial(t, serving(t, func(conn *net.TCPConn) {
		accepted <- conn
		<-ended
	}))
	server := <-accepted
	client.Close()
	expectEnd(t, server)
	if _, err := io.WriteString(server, "too late"); err != nil {
		t.Fatal(err)
	}
	raw, err := server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		unsent := -1
		raw.Control(func(fd uintptr) { unsent = unsentBytes(int(fd)) })
		return unsent == 0
	})
}
