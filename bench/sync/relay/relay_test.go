package relay_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/formicarium/formicarium/bench/sync/relay"
)

// TestRelay sends an echo server more than fits into a parcel: all comes back,
// and not before the round trips that it takes.
func TestRelay(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	const trip = 30 * time.Millisecond
	r, err := relay.Listen(echo.Addr().String(), trip)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	begun := time.Now()
	conn, err := net.Dial("tcp", r.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := make([]byte, 300<<10)
	go func() {
		conn.Write(sent)
		conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || len(got) != len(sent) {
		t.Errorf("%d bytes came back, %v; want %d", len(got), err, len(sent))
	}
	if took := time.Since(begun); took < 2*trip {
		t.Errorf("it took %s, want two round trips of %s at least: one to connect, one for the answer", took, trip)
	}
}
