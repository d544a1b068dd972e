package http2

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// found returns where the Follower finds the block that stream begins with.
func found(t *testing.T, stream string) *BlockFrames {
	t.Helper()
	f := NewFollower(Client)
	f.state, f.settled = atFrame, true
	if p := f.Next([]byte(stream)); p.Kind != Block || p.N != len(stream) {
		t.Fatalf("%q is %+v, %s", stream, p, f.Reason)
	}
	return &f.Block
}

func TestInsert(t *testing.T) {
	full := strings.Repeat("x", MinFrameSize-3)
	tests := []struct{ name, stream, want string }{
		{"plain", frame(1, 5, 1, "abc"), frame(1, 5, 1, "abc+++")},
		{"before the padding, behind the priority", frame(1, 0x2c, 1, "\x0212345abcpp"), frame(1, 0x2c, 1, "\x0212345abc+++pp")},
		{"in the last frame", frame(1, 9, 1, "\x01ap") + frame(9, 0, 1, "b") + frame(9, 4, 1, "c"), frame(1, 9, 1, "\x01ap") + frame(9, 0, 1, "b") + frame(9, 4, 1, "c+++")},
		{"just as much as there is room for", frame(1, 4, 1, full), frame(1, 4, 1, full+"+++")},
		{"in a frame of its own", frame(1, 5, 1, full+"x"), frame(1, 1, 1, full+"x") + frame(9, 4, 1, "+++")},
		{"in a frame behind continuations", frame(1, 0, 1, "a") + frame(9, 4, 1, full+"x"), frame(1, 0, 1, "a") + frame(9, 0, 1, full+"x") + frame(9, 4, 1, "+++")},
		{"reserved bit", "\x00\x00\x01\x01\x04\x80\x00\x00\x01a", "\x00\x00\x04\x01\x04\x80\x00\x00\x01a+++"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := found(t, tt.stream).Insert(nil, []byte(tt.stream), []byte("+++"), MinFrameSize); string(got) != tt.want {
				t.Errorf("got %.80q\nwant %.80q", got, tt.want)
			}
		})
	}
}

func TestRewrite(t *testing.T) {
	long := strings.Repeat("x", MinFrameSize+MinFrameSize+10)
	tests := []struct{ name, stream, content, want string }{
		{"plain", frame(1, 5, 1, "abc"), "new", frame(1, 5, 1, "new")},
		{"padding and priority", frame(1, 0x28, 1, "\x0212345abcpp") + frame(9, 4, 1, "d"), "new", frame(1, 0x2c, 1, "\x0212345newpp")},
		{"empty", frame(1, 5, 1, "abc"), "", frame(1, 5, 1, "")},
		{"several frames", frame(1, 0x0d, 1, "\x02abcpp"), long, frame(1, 9, 1, "\x02"+long[:MinFrameSize-3]+"pp") + frame(9, 0, 1, long[:MinFrameSize]) + frame(9, 4, 1, long[:13])},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := found(t, tt.stream).Rewrite(nil, []byte(tt.stream), []byte(tt.content), MinFrameSize); string(got) != tt.want {
				t.Errorf("got %.80q\nwant %.80q", got, tt.want)
			}
		})
	}
}

func TestAppendLiteral(t *testing.T) {
	for _, n := range []int{0, 1, 126, 127, 128, 254, 255, 256, 20000} {
		value := strings.Repeat("v", n)
		fields, err := NewDecoder().Decode(AppendLiteral(nil, "name", value), DefaultTableSize)
		if err != nil || len(fields) != 1 || fields[0].Name != "name" || fields[0].Value != value {
			t.Errorf("a value of %d bytes: %d fields, %v", n, len(fields), err)
		}
	}
}

func TestEncoderUsesNoTable(t *testing.T) {
	fields := []Field{{Name: ":method", Value: "GET"}, {Name: "a", Value: "b"}, {Name: "secret", Value: "s", Sensitive: true}}
	e := NewEncoder()
	if first := e.Encode(fields, []byte{0x82}); first[0] != 0x20 {
		t.Errorf("the first block begins with 0x%02x, want a table of size 0", first[0])
	}
	for range 2 {
		block := e.Encode(fields, []byte{0x82})
		// A decoder at the beginning of a connection has nothing in its table.
		got, err := NewDecoder().Decode(block, 0)
		if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", fields) {
			t.Errorf("a further block has %q, %v", got, err)
		}
	}
	if block := e.Encode(fields, []byte{0x3f, 0x01, 0x82}); block[0] != 0x20 {
		t.Error("a change of the table's size is not answered")
	}
}

func TestDecoderBounds(t *testing.T) {
	// One entry as large as the table, then references to it.
	bomb := append([]byte{0x40}, appendString(appendString(nil, "a"), strings.Repeat("x", 4000))...)
	bomb = append(bomb, []byte(strings.Repeat("\xbe", 50000))...)
	d := NewDecoder()
	fields, err := d.Decode(bomb, DefaultTableSize)
	if err != nil || !d.Truncated || len(fields) > maxList/4000 {
		t.Errorf("%d fields were kept, truncated %v, %v", len(fields), d.Truncated, err)
	}
	if fields, err = d.Decode([]byte{0xbe}, DefaultTableSize); err != nil || d.Truncated || len(fields) != 1 {
		t.Errorf("the next block has %d fields, truncated %v, %v", len(fields), d.Truncated, err)
	}
	for _, tt := range []struct {
		announced, size uint32
		ok              bool
	}{{DefaultTableSize, DefaultTableSize, true}, {DefaultTableSize, DefaultTableSize + 1, false}, {MaxTable, MaxTable, true}, {2 * MaxTable, MaxTable + 1, false}} {
		var b strings.Builder
		e := hpack.NewEncoder(&b)
		e.SetMaxDynamicTableSizeLimit(tt.size)
		e.SetMaxDynamicTableSize(tt.size)
		e.WriteField(Field{Name: "a", Value: "b"})
		if _, err := NewDecoder().Decode([]byte(b.String()), tt.announced); (err == nil) != tt.ok {
			t.Errorf("a table of %d where %d was announced: %v", tt.size, tt.announced, err)
		}
	}
}
