package smarthttp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

var (
	idA  = strings.Repeat("a", 40)
	idB  = strings.Repeat("b", 40)
	none = strings.Repeat("0", 40)
)

func TestReadCommands(t *testing.T) {
	first := packet(idA + " " + idB + " refs/heads/main\x00 report-status side-band-64k agent=git/2.39")
	pack := "PACK and so on"
	list, head, err := readCommands(strings.NewReader(packet("shallow "+idA) + first + packet(none+" "+idA+" refs/heads/x\n") + flushPacket + pack))
	if err != nil {
		t.Fatal(err)
	}
	if !list.sideBand || len(list.updates) != 2 || list.newID("refs/heads/main") != idB || list.newID("refs/heads/x") != idA || list.newID("refs/heads/y") != "" {
		t.Errorf("the list is %+v", list)
	}
	if !strings.HasSuffix(string(head), flushPacket) || strings.Contains(string(head), "PACK") {
		t.Errorf("the head ends in %q", head[len(head)-10:])
	}
	if list, head, err := readCommands(strings.NewReader("")); err != nil || len(list.updates) != 0 || len(head) != 0 {
		t.Errorf("of nothing: %v, %q, %v", list, head, err)
	}
}

func TestReadCommandsRefuses(t *testing.T) {
	for input, want := range map[string]error{
		"00":          io.ErrUnexpectedEOF,
		"0010abc":     io.ErrUnexpectedEOF,
		packet("abc"): io.ErrUnexpectedEOF, // no flush-pkt
		"0003":        errMalformed,
		"0001":        errMalformed,
		"xyz!":        errMalformed,
		"fff5":        errMalformed, // longer than a packet may be
		strings.Repeat(packet(strings.Repeat("x", 60000)), 20): errManyCommands,
	} {
		if _, head, err := readCommands(strings.NewReader(input)); !errors.Is(err, want) || len(head) > maxCommands {
			t.Errorf("readCommands(%.20q…) = %v with %d bytes kept, want %v", input, err, len(head), want)
		}
	}
}

// However a list of commands is cut and broken, reading it takes bounded
// memory, keeps each byte that it took, and takes none beyond the flush-pkt.
func FuzzReadCommands(f *testing.F) {
	f.Add([]byte(packet(idA+" "+idB+" refs/heads/main\x00report-status side-band-64k") + flushPacket + "PACK"))
	f.Add([]byte(packet("shallow "+idA+"\n") + packet(none+" "+idA+" refs/heads/x") + flushPacket))
	f.Add([]byte(packet("push-cert\x00 side-band-64k\n") + packet("certificate version 0.1\n") + flushPacket))
	f.Add([]byte("0004" + flushPacket))
	f.Add([]byte("0001"))
	f.Add([]byte("FFF0"))
	f.Fuzz(func(t *testing.T, input []byte) {
		r := bytes.NewReader(input)
		list, head, err := readCommands(r)
		if taken := input[:len(input)-r.Len()]; !bytes.Equal(head, taken) {
			t.Errorf("took %q and kept %q", taken, head)
		}
		if len(head) > maxCommands {
			t.Errorf("kept %d bytes", len(head))
		}
		if err == nil && len(head) > 0 && !bytes.HasSuffix(head, []byte(flushPacket)) {
			t.Errorf("the list ends in %q", head)
		}
		for _, u := range list.updates {
			if !isHex(u.old) || !isHex(u.new) || u.ref == "" {
				t.Errorf("update %+v", u)
			}
		}
	})
}

func TestHoldFlush(t *testing.T) {
	for _, test := range []struct {
		input, passed string
		flush         bool
	}{
		{"", "", false},
		{flushPacket, "", true},
		{packet("\x02hi") + flushPacket, packet("\x02hi"), true},
		{packet("\x01000eunpack ok\n0000") + flushPacket, packet("\x01000eunpack ok\n0000"), true},
		{packet("a0000"), packet("a0000"), false},
		{flushPacket + packet("b") + flushPacket + flushPacket, flushPacket + packet("b") + flushPacket, true},
		{"0004" + flushPacket, "0004", true},
		{"0001" + packet("b"), "0001" + packet("b"), false},
		{packet("a") + "00", packet("a") + "00", false},
		{packet("a") + "plain text 0000", packet("a") + "plain text 0000", false},
	} {
		for size := 1; size <= len(test.input)+1; size++ {
			var passed bytes.Buffer
			f := &holdFlush{w: &passed}
			for rest := []byte(test.input); len(rest) > 0; {
				n, err := f.Write(rest[:min(size, len(rest))])
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if flush, err := f.end(); passed.String() != test.passed || flush != test.flush || err != nil {
				t.Errorf("%q by %d: passed %q, flush %v, %v; want %q, %v", test.input, size, passed.String(), flush, err, test.passed, test.flush)
			}
		}
	}
}

func TestProgressPackets(t *testing.T) {
	var out bytes.Buffer
	p := &progress{w: &out}
	p.line("")
	p.line("hello\n")
	p.line(strings.Repeat("x", maxPacket))
	want := "0005\x02" + "000b\x02hello\n" + "fff0\x02" + strings.Repeat("x", maxPacket-5) + "000a\x02" + "xxxxx"
	if out.String() != want {
		t.Errorf("wrote %.60q…%q", out.String(), out.String()[out.Len()-20:])
	}
}
