package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// FuzzFollower checks that a Follower gives the same pieces however the stream
// is cut, never a piece beyond its input, and that what it finds can be decoded
// and written anew at a bounded cost.
func FuzzFollower(f *testing.F) {
	f.Add(false, uint8(1), settings+frame(1, 0x2d, 1, "\x0112345\x82\x86\x84p")+frame(0, 9, 1, "\x01ap"))
	f.Add(true, uint8(2), settings+frame(1, 0, 1, "\x88")+frame(9, 4, 1, "\x40\x01a\x01b")+frame(7, 0, 0, "12345678"))
	f.Fuzz(func(t *testing.T, server bool, size uint8, stream string) {
		role := Client
		if server {
			role = Server
		} else {
			stream = Preface + stream
		}
		if len(stream) > 2048 {
			return
		}
		whole, cut := transcript(role, stream, len(stream)+1), transcript(role, stream, int(size)+1)
		// How much of the bytes without meaning comes before what has one
		// depends on the cut.
		if plainOf(whole) != plainOf(cut) {
			t.Errorf("in one piece:\n%s\nin pieces of %d:\n%s", whole, int(size)+1, cut)
		}
		if !server {
			rewriteAll(t, []byte(stream))
		}
	})
}

// plainOf removes from a transcript what it says of other bytes and of contents
// without an end.
func plainOf(transcript string) string {
	var b strings.Builder
	for line := range strings.Lines(transcript) {
		if !strings.HasPrefix(line, "other ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// rewriteAll decodes a client's header blocks and checks that both ways to put a
// field into them give blocks that say the same and that field.
func rewriteAll(t *testing.T, stream []byte) {
	t.Helper()
	f := NewFollower(Client)
	decoder, inserted, rewritten := NewDecoder(), NewDecoder(), NewDecoder()
	encoder := NewEncoder()
	literal := AppendLiteral(nil, "x-added", "1")
	for {
		p := f.Next(stream)
		if p.Kind == Need || p.Kind == Doubt {
			return
		}
		if p.Kind == Block {
			src := stream[:p.N]
			content := f.Block.Content(src)
			fields, err := decoder.Decode(content, DefaultTableSize)
			if err != nil {
				return
			}
			want := fmt.Sprintf("%q", append(fields, Field{Name: "x-added", Value: "1"}))
			for name, got := range map[string]string{
				"inserted":  decodeFrames(t, inserted, f.Block.Insert(nil, src, literal, MinFrameSize)),
				"rewritten": decodeFrames(t, rewritten, f.Block.Rewrite(nil, src, encoder.Encode(append(fields, Field{Name: "x-added", Value: "1"}), content), MinFrameSize)),
			} {
				if got != want {
					t.Errorf("%s: %s\nwant %s", name, got, want)
				}
			}
		}
		stream = stream[p.N:]
	}
}

// decodeFrames returns the fields of the one block in frames.
func decodeFrames(t *testing.T, d *Decoder, frames []byte) string {
	t.Helper()
	f := NewFollower(Client)
	f.state, f.settled = atFrame, true
	p := f.Next(bytes.Clone(frames))
	if p.Kind != Block || p.N != len(frames) {
		t.Fatalf("%q is %+v, %s", frames, p, f.Reason)
	}
	fields, err := d.Decode(f.Block.Content(frames), DefaultTableSize)
	if err != nil {
		t.Fatalf("%q: %v", frames, err)
	}
	return fmt.Sprintf("%q", fields)
}
