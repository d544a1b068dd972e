package http2

import (
	"fmt"
	"strings"
	"testing"
)

// frame returns a frame's bytes.
func frame(kind, flags byte, stream uint32, payload string) string {
	h := header{length: len(payload), kind: kind, flags: flags, stream: stream}
	return string(h.append(nil)) + payload
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

const (
	settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	hello    = Preface + settings
)

// transcript feeds stream in pieces of the given size and writes down what the
// Follower said, contents in one piece each.
func transcript(role Role, stream string, size int) string {
	var b strings.Builder
	f := NewFollower(role)
	var unread []byte
	var content []byte // of DATA or of a block
	at, other := 0, 0
	for at < len(stream) || len(unread) > 0 {
		p := f.Next(unread)
		if p.Kind == Need {
			if at == len(stream) {
				break
			}
			n := min(size, len(stream)-at)
			unread = append(append([]byte(nil), unread...), stream[at:at+n]...)
			at += n
			continue
		}
		if p.Kind != Other && other > 0 {
			fmt.Fprintf(&b, "other %d\n", other)
			other = 0
		}
		switch p.Kind {
		case Other:
			other += p.N
		case Setting:
			fmt.Fprintf(&b, "setting %d=%d\n", f.Setting.ID, f.Setting.Value)
		case Data:
			content = append(content, unread[p.N-f.Payload:p.N]...)
			if p.End {
				fmt.Fprintf(&b, "data %d %q end\n", f.Stream, content)
				content = nil
			}
		case Fragment:
			if content = append(content, f.Fragment...); p.End {
				fmt.Fprintf(&b, "block %d %q end %v promise %v\n", f.Stream, content, f.EndStream, f.Promise)
				content = nil
			}
		case Block:
			fmt.Fprintf(&b, "block %d %q end %v of %d\n", f.Stream, f.Block.Content(unread[:p.N]), f.EndStream, p.N)
		case Reset:
			fmt.Fprintf(&b, "reset %d %s\n", f.Stream, f.Code)
		case GoAway:
			fmt.Fprintf(&b, "goaway %d %s\n", f.Stream, f.Code)
		case Doubt:
			fmt.Fprintf(&b, "doubt %s\n", f.Reason)
			return b.String()
		}
		unread = unread[p.N:]
	}
	fmt.Fprintf(&b, "other %d left %d content %q holding %v\n", other, len(unread), content, f.Holding())
	return b.String()
}

func TestClient(t *testing.T) {
	tests := []struct{ name, stream, want string }{
		{"greeting", Preface + frame(4, 0, 0, "\x00\x01\x00\x00\x00\x05\x00\x05\x00\x00\x80\x00"), lines("other 33", "setting 1=5", "setting 5=32768", "other 0 left 0 content \"\" holding true")},
		{"half a preface", Preface[:20], lines(`other 20 left 0 content "" holding false`)},
		{"wrong preface", Preface[:20] + "?", lines("doubt http2_preface")},
		{"no settings", Preface + frame(6, 0, 0, "12345678"), lines("doubt http2_preface")},
		{"request", hello + frame(1, 5, 1, "abc"), lines("other 33", `block 1 "abc" end true of 12`, `other 0 left 0 content "" holding true`)},
		{"padding and priority", hello + frame(1, 0x2c, 3, "\x0212345abc\x00\x00"), lines("other 33", `block 3 "abc" end false of 20`, `other 0 left 0 content "" holding true`)},
		{"continuations", hello + frame(1, 1, 1, "a") + frame(9, 0, 1, "") + frame(9, 4, 1, "bc") + frame(1, 4, 1, "t"), lines("other 33", `block 1 "abc" end true of 30`, `block 1 "t" end false of 10`, `other 0 left 0 content "" holding true`)},
		{"half a block", hello + frame(1, 1, 1, "a") + frame(9, 0, 1, "b")[:5], lines(`other 33 left 15 content "" holding true`)},
		{"data", hello + frame(0, 0, 1, "ab") + frame(0, 9, 1, "\x03cd123"), lines("other 33", `data 1 "abcd" end`, `other 3 left 0 content "" holding true`)},
		{"data of padding alone", hello + frame(0, 9, 1, "\x02pp"), lines("other 33", `data 1 "" end`, `other 2 left 0 content "" holding true`)},
		{"the rest", hello + frame(2, 0, 1, "12345") + frame(6, 0, 0, "12345678") + frame(8, 0, 0, "1234") + frame(0xaa, 0xff, 7, "new"), lines(`other 89 left 0 content "" holding true`)},
		{"reset", hello + frame(3, 0, 5, "\x00\x00\x00\x08"), lines("other 33", "reset 5 CANCEL", `other 0 left 0 content "" holding true`)},
		{"goaway", hello + frame(7, 0, 0, "\x80\x00\x00\x05\x00\x00\x01\x00bye"), lines("other 33", "goaway 5 code 0x100", `other 3 left 0 content "" holding true`)},

		{"frame too large", hello + frame(0xaa, 0, 0, strings.Repeat("x", MinFrameSize+1)), lines("doubt http2_frame_size")},
		{"block too large", hello + frame(1, 0, 1, strings.Repeat("x", MinFrameSize)) + strings.Repeat(frame(9, 0, 1, strings.Repeat("x", MinFrameSize)), 3), lines("doubt http2_head_too_large")},
		{"stray continuation", hello + frame(9, 4, 1, ""), lines("doubt http2_continuation")},
		{"frame within a block", hello + frame(1, 0, 1, "a") + frame(6, 0, 0, "12345678"), lines("doubt http2_continuation")},
		{"continuation of another", hello + frame(1, 0, 1, "a") + frame(9, 4, 3, "b"), lines("doubt http2_continuation")},
		{"even stream", hello + frame(1, 5, 2, "a"), lines("doubt http2_bad_stream")},
		{"stream 0", hello + frame(0, 1, 0, "a"), lines("doubt http2_bad_stream")},
		{"settings of a stream", hello + frame(4, 0, 1, ""), lines("doubt http2_bad_stream")},
		{"settings cut", hello + frame(4, 0, 0, "12345"), lines("doubt http2_bad_frame")},
		{"settings acknowledged with more", hello + frame(4, 1, 0, "123456"), lines("doubt http2_bad_frame")},
		{"short reset", hello + frame(3, 0, 1, "123"), lines("doubt http2_bad_frame")},
		{"short goaway", hello + frame(7, 0, 0, "1234567"), lines("doubt http2_bad_frame")},
		{"client's promise", hello + frame(5, 4, 1, "1234"), lines("doubt http2_bad_frame")},
		{"no room for priority", hello + frame(1, 0x24, 1, "1234"), lines("doubt http2_bad_frame")},
		{"too much padding", hello + frame(1, 0x0c, 1, "\x03ab"), lines("doubt http2_bad_padding")},
		{"too much padding of data", hello + frame(0, 8, 1, "\x01"), lines("doubt http2_bad_padding")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { expectTranscript(t, Client, tt.stream, tt.want) })
	}
}

func TestServer(t *testing.T) {
	tests := []struct{ name, stream, want string }{
		{"response", settings + frame(1, 4, 1, "ab") + frame(0, 1, 1, "body"), lines("other 9", `block 1 "ab" end false promise false`, `data 1 "body" end`, `other 0 left 0 content "" holding false`)},
		{"padding and continuations", settings + frame(1, 9, 1, "\x02abpp") + frame(9, 0, 1, "") + frame(9, 4, 1, "cd"), lines("other 9", "other 2", `block 1 "abcd" end true promise false`, `other 0 left 0 content "" holding false`)},
		{"empty block", settings + frame(1, 5, 1, ""), lines("other 9", `block 1 "" end true promise false`, `other 0 left 0 content "" holding false`)},
		{"promise", settings + frame(5, 0x0c, 1, "\x01\x00\x00\x00\x02abp"), lines("other 9", `block 1 "ab" end false promise true`, `other 1 left 0 content "" holding false`)},
		{"half a block", settings + frame(1, 4, 1, "abcd")[:11], lines("other 9", `other 0 left 0 content "ab" holding false`)},
		{"no settings", frame(6, 0, 0, "12345678"), lines("doubt http2_preface")},
		{"acknowledgement first", frame(4, 1, 0, ""), lines("doubt http2_preface")},
		{"frame within a block", settings + frame(1, 0, 1, "a") + frame(0, 0, 1, ""), lines("doubt http2_continuation")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { expectTranscript(t, Server, tt.stream, tt.want) })
	}
}

// expectTranscript feeds the stream whole and in pieces. A doubt is expected by
// the last line alone.
func expectTranscript(t *testing.T, role Role, stream, want string) {
	t.Helper()
	sizes := []int{len(stream), 1, 2, 3, 7}
	if len(stream) > 4096 { // byte by byte costs the square
		sizes = []int{len(stream), 1000}
	}
	for _, size := range sizes {
		got := transcript(role, stream, size)
		if _, last, ok := strings.Cut(got, "doubt "); ok {
			got = "doubt " + last
		}
		if got != want {
			t.Errorf("in pieces of %d:\n%swant\n%s", size, got, want)
		}
	}
}

func TestLimitIsWhatTheOtherEndAnnounced(t *testing.T) {
	f := NewFollower(Server)
	f.Limit = 20000
	stream := []byte(settings + frame(0, 0, 1, strings.Repeat("x", 20000)))
	f.Next(stream)
	if p := f.Next(stream[9:]); p.Kind != Data {
		t.Errorf("a frame of the announced size is %+v", p)
	}
}

func TestGreets(t *testing.T) {
	whole := frame(4, 0, 0, "\x00\x03\x00\x00\x00\x64")
	for n := range len(whole) + 1 {
		if greets, sure := Greets([]byte(whole[:n])); !greets || sure != (n >= headerSize) {
			t.Errorf("%q: %v, %v", whole[:n], greets, sure)
		}
	}
	for _, other := range []string{"220 smtp", "HTTP/1.1 200", "\x4a\x00\x00\x00\x0a8.0", "\x00\x00\x00\x04\x01", "\x00\x00\x05\x04\x00\x00\x00\x00\x00", "\x00\x00\x00\x04\x00\x00\x00\x00\x01"} {
		if greets, sure := Greets([]byte(other)); greets || !sure {
			t.Errorf("%q: %v, %v", other, greets, sure)
		}
	}
}
