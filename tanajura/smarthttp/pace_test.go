package smarthttp

import (
	"testing"
	"time"
)

// A client that sends a byte now and then has no more time than one that sends
// nothing; one that gets on has all of it again.
func TestPace(t *testing.T) {
	var slow pace
	for i := 1; i <= 4; i++ {
		slow.note(1, idleTimeout/4)
		if got, want := slow.left(), idleTimeout-time.Duration(i)*idleTimeout/4; got != want {
			t.Errorf("after %d bytes %s are left, want %s", i, got, want)
		}
	}
	var good pace
	for range 100 {
		good.note(minProgress/2, idleTimeout/4)
		good.note(minProgress/2, idleTimeout/4)
		if got := good.left(); got != idleTimeout {
			t.Errorf("after %d bytes %s are left, want %s", minProgress, got, idleTimeout)
		}
	}
}

// However git's answer is cut and broken, all of it is passed on.
func FuzzHoldFlush(f *testing.F) {
	f.Add([]byte(packet("\x02hi")+flushPacket), 3)
	f.Add([]byte(flushPacket+flushPacket), 1)
	f.Add([]byte("0004zzzz0000"), 5)
	f.Add([]byte("00"), 1)
	f.Fuzz(func(t *testing.T, input []byte, size int) {
		var passed []byte
		h := &holdFlush{w: writerFunc(func(p []byte) (int, error) { passed = append(passed, p...); return len(p), nil })}
		for rest := input; len(rest) > 0; {
			n := max(1, min(size, len(rest)))
			if _, err := h.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		flush, err := h.end()
		if err != nil {
			t.Fatal(err)
		}
		if flush {
			passed = append(passed, flushPacket...)
		}
		if string(passed) != string(input) {
			t.Errorf("%q by %d: passed %q", input, size, passed)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
