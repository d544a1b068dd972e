package smarthttp

import (
	"bytes"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/tanajura/quick"
)

// TestRecentPacksAreShared: however many Stingers fetch a save at once, its
// answer is in memory once.
func TestRecentPacksAreShared(t *testing.T) {
	var recent recentPacks
	old, now := strings.Repeat("1", 40), strings.Repeat("2", 40)
	recent.add("orders", quick.Push{Old: old, New: now, Pack: bytes.Repeat([]byte("pack"), 100_000)})
	one, two := recent.find("orders", old, now), recent.find("orders", old, now)
	if !bytes.HasPrefix(one, []byte("0031ACK "+old+"\n")) || !bytes.HasSuffix(one, []byte(flushPacket)) || &one[0] != &two[0] {
		t.Errorf("the answers are two, or none: %.60q, %.60q", one, two)
	}
	if recent.find("other", old, now) != nil || recent.find("orders", now, old) != nil {
		t.Error("the pack is found for another repository or another way")
	}
}
