package smarthttp

import (
	"testing"
)

func plainRequest(capabilities, have string) string {
	return packet("want "+idA+capabilities+"\n") + flushPacket + packet("have "+have+"\n") + packet("done\n")
}

func TestReadPlain(t *testing.T) {
	want, have, ok := readPlain([]byte(plainRequest(" side-band-64k ofs-delta shallow", idB)))
	if !ok || want != idA || have != idB {
		t.Errorf("readPlain = %q, %q, %v", want, have, ok)
	}
	for name, text := range map[string]string{
		"nothing":         "",
		"no side-band":    plainRequest(" ofs-delta", idB),
		"multi_ack":       plainRequest(" side-band-64k multi_ack_detailed", idB),
		"a filter":        plainRequest(" side-band-64k filter", idB),
		"a short id":      plainRequest(" side-band-64k", idB[1:]),
		"a depth":         packet("want "+idA+" side-band-64k\n") + packet("deepen 1\n") + flushPacket + packet("have "+idB+"\n") + packet("done\n"),
		"a shallow base":  packet("want "+idA+" side-band-64k\n") + packet("shallow "+idB+"\n") + flushPacket + packet("have "+idB+"\n") + packet("done\n"),
		"two wants":       packet("want "+idA+" side-band-64k\n") + packet("want "+idB+"\n") + flushPacket + packet("have "+idB+"\n") + packet("done\n"),
		"two haves":       packet("want "+idA+" side-band-64k\n") + flushPacket + packet("have "+idB+"\n") + packet("have "+idA+"\n") + packet("done\n"),
		"not done":        packet("want "+idA+" side-band-64k\n") + flushPacket + packet("have "+idB+"\n") + flushPacket,
		"more after done": plainRequest(" side-band-64k", idB) + flushPacket,
		"not of packets":  "want it all",
	} {
		if want, have, ok := readPlain([]byte(text)); ok {
			t.Errorf("%s: readPlain = %q, %q", name, want, have)
		}
	}
}

// FuzzReadPlain: what is read must be ids, and the same request again.
func FuzzReadPlain(f *testing.F) {
	f.Add([]byte(plainRequest(" side-band-64k ofs-delta", idB)))
	f.Add([]byte(plainRequest(" side-band-64k multi_ack", idB)))
	f.Add([]byte(plainRequest("", none)))
	f.Fuzz(func(t *testing.T, text []byte) {
		want, have, ok := readPlain(text)
		if ok && (!isHex(want) || !isHex(have)) {
			t.Errorf("readPlain = %q, %q", want, have)
		}
	})
}
