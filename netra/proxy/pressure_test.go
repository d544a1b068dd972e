package proxy

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestSlowReceiverSlowsItsSender lets one end send far more than all sockets on
// the way can hold to one that does not read yet: the sender must be stopped, and
// lose nothing. It is the same for what netra follows and what it copies.
func TestSlowReceiverSlowsItsSender(t *testing.T) {
	const size = 128 << 20
	request := "POST /upload HTTP/1.1\r\nContent-Length: 134217728\r\n\r\n"
	for name, test := range map[string]struct {
		first string // of the client
		reply string // of the server, before the load
		down  bool
	}{
		"upload":           {first: request},
		"download":         {get, "HTTP/1.1 200 OK\r\nContent-Length: 134217728\r\n\r\n", true},
		"copied upload":    {first: "\x16\x03\x01\x00\x05hello"},
		"copied download":  {"\x16\x03\x01\x00\x05hello", "\x16\x03\x03", true},
		"chunked download": {get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8000000\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			client, server := pair(t, r)
			send(t, client, test.first)
			if strings.Contains(test.first, "HTTP") {
				readHead(t, server)
			} else {
				expect(t, server, test.first)
			}
			send(t, server, test.reply)
			expect(t, client, test.reply)
			from, to := net.Conn(client), net.Conn(server)
			if test.down {
				from, to = server, client
			}
			deadline := time.Now().Add(3 * patience)
			from.SetDeadline(deadline)
			to.SetDeadline(deadline)
			var sent atomic.Int64
			ended := make(chan error, 1)
			go func() { ended <- sendBlocks(from, size/blockSize, &sent) }()
			// Stopped is who makes no progress for a while. One that is only slow
			// and taken for it makes the test easier, never fail.
			for last, same := int64(-1), 0; same < 10; time.Sleep(20 * time.Millisecond) {
				if now := sent.Load(); now == last {
					same++
				} else {
					last, same = now, 0
				}
			}
			if n := sent.Load(); n == size {
				t.Error("all was taken from the sender while nobody was reading")
			}
			expectBlocks(t, to, size/blockSize)
			if err := <-ended; err != nil {
				t.Errorf("the sender was told %v", err)
			}
		})
	}
}

const blockSize = 1 << 20

// sendBlocks sends blocks of which no two are alike, and counts their bytes.
func sendBlocks(w io.Writer, n int, sent *atomic.Int64) error {
	block := make([]byte, blockSize)
	for i := range n {
		block[i] = 'x'
		if _, err := w.Write(block); err != nil {
			return err
		}
		sent.Add(blockSize)
	}
	return nil
}

func expectBlocks(t *testing.T, r io.Reader, n int) {
	t.Helper()
	got, want := make([]byte, blockSize), make([]byte, blockSize)
	for i := range n {
		want[i] = 'x'
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("block %d is not what was sent: %v", i, err)
		}
	}
}
