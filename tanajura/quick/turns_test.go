package quick

import (
	"errors"
	"strings"
	"testing"
)

// TestTurns: what the pushes of many repositories hold in memory at once is
// bounded; git takes those that are too many.
func TestTurns(t *testing.T) {
	taker := New(nil)
	for range cap(taker.turns) {
		taker.turns <- struct{}{}
	}
	id := strings.Repeat("1", 40)
	err := taker.Take(t.TempDir(), Push{Old: id, New: id})
	if !errors.Is(err, ErrDoubt) || !strings.Contains(err.Error(), "other pushes") {
		t.Errorf("Take = %v, want ErrDoubt because of other pushes", err)
	}
	<-taker.turns
	if err := taker.Take(t.TempDir(), Push{Old: id, New: id}); !errors.Is(err, ErrDoubt) || strings.Contains(err.Error(), "other pushes") {
		t.Errorf("Take = %v with room for it", err)
	}
	if len(taker.turns) != cap(taker.turns)-1 {
		t.Errorf("%d of %d turns are taken", len(taker.turns), cap(taker.turns))
	}
}
