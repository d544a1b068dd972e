package proxy

import (
	"testing"

	"github.com/formicarium/formicarium/netra/proxy/http1"
)

func TestWindowBorrowsWhileNothingIsKept(t *testing.T) {
	scratch := make([]byte, smallWindow)
	var v window
	v.w = copy(v.room(scratch), "ab")
	if &v.buf[0] != &scratch[0] {
		t.Error("the scratch is not used")
	}
	v.r, v.done = 1, 2
	v.keep()
	copy(scratch, "xx") // another window's bytes
	if string(v.unread()) != "b" || v.done != 1 {
		t.Errorf("kept %q, done %d", v.unread(), v.done)
	}
	v.r = v.w
	v.keep()
	if v.buf != nil || v.w != 0 || v.done != 0 {
		t.Errorf("nothing is unread, but the window is %d:%d of %d bytes", v.r, v.w, len(v.buf))
	}
}

func TestWindowMakesRoom(t *testing.T) {
	scratch := make([]byte, smallWindow)
	var v window
	fill := func() {
		for room := v.room(scratch); len(room) > 0; room = room[1:] {
			room[0] = byte(v.w)
			v.w++
		}
	}
	fill()
	v.r, v.done = 100, 200
	v.keep() // by moving what is unread
	fill()
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
	v.release()
}
