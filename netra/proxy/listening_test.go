package proxy

import (
	"strings"
	"testing"
)

func TestListens(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:3A6C 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 1 1
   1: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 2 1
`
	const listening = `   2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1
`
	own := []uint16{0x3a6c}
	if listens(strings.NewReader(table), own) {
		t.Error("netra's own port, or a connection, is taken for the application's")
	}
	if !listens(strings.NewReader(table+listening), own) || !listens(strings.NewReader(table), nil) {
		t.Error("a port is overlooked")
	}
}

func TestListening(t *testing.T) {
	l := listen(t)
	all := make([]uint16, 0, 1<<16)
	for port := range 1 << 16 {
		if uint16(port) != addrPort(l.Addr()).Port() {
			all = append(all, uint16(port))
		}
	}
	if !Listening(all) {
		t.Error("a listener is overlooked")
	}
	l.Close()
	if Listening(all) {
		t.Error("a port is listened on that was closed")
	}
}
