package proxy

import (
	"testing"

	"github.com/formicarium/formicarium/netra/proxy/http1"
)

func TestWindowGivesItsBufferBackWhenAllIsRead(t *testing.T) {
	var v window
	v.w = copy(v.room(), "ab")
	if v.settle(); v.buf == nil {
		t.Error("the buffer is gone with bytes unread in it")
	}
	v.r, v.done = 2, 2
	if v.settle(); v.buf != nil || v.w != 0 || v.done != 0 {
		t.Errorf("nothing is unread, but the window is %d:%d of %d bytes", v.r, v.w, len(v.buf))
	}
}

func TestWindowMakesRoom(t *testing.T) {
	var v window
	fill := func() {
		for room := v.room(); len(room) > 0; room = room[1:] {
			room[0] = byte(v.w)
			v.w++
		}
	}
	fill()
	v.r, v.done = 100, 200
	fill() // by moving what is unread
	if len(v.buf) != smallWindow || v.r != 0 || v.done != 100 || v.unread()[0] != 100 {
		t.Errorf("moved to %d, %d of %d bytes, first %d", v.r, v.done, len(v.buf), v.buf[0])
	}
	fill() // by growing
	if len(v.buf) != largeWindow || v.done != 100 || v.unread()[0] != 100 {
		t.Errorf("grown to %d bytes, done %d, first %d", len(v.buf), v.done, v.buf[0])
	}
	if len(v.buf) < http1.MaxHead {
		t.Error("a large window has no room for a head")
	}
	v.free()
}
