package sniff

import "testing"

// FuzzSniffer checks that the answer does not depend on how the streams are
// cut, and that what is told of a server is fit for a name.
func FuzzSniffer(f *testing.F) {
	f.Add(uint16(6000), uint8(0), "", psqlSSL, psqlStartup)
	f.Add(uint16(25), uint8(2), "220 hello\r\n", "EHLO a\r\n", "")
	f.Fuzz(func(t *testing.T, port uint16, size uint8, server, client, rest string) {
		if len(client)+len(rest) > 8192 || len(server) > 2048 { // byte by byte takes its time; a Sniffer looks no further
			return
		}
		pieces := []piece{s(server), c(client), s("N"), c(rest)}
		whole := look(port, 1<<20, pieces...)
		cut := look(port, int(size)+1, pieces...)
		if whole != cut {
			t.Errorf("in one piece %q, in pieces of %d %q", whole, int(size)+1, cut)
		}
		sniffer := New(port)
		if sniffer.Client([]byte(client + rest)); sniffer.identity.Server != "" && hostName([]byte(sniffer.identity.Server)) != sniffer.identity.Server {
			t.Errorf("server %q", sniffer.identity.Server)
		}
	})
}
