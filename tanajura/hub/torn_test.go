package hub_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/formicarium/formicarium/tanajura/hub"
)

// TestTornPackIsHealed opens a hub after a loss of power that left a pack's name
// without its content.
func TestTornPackIsHealed(t *testing.T) {
	dir := t.TempDir()
	open := func() *hub.Hub {
		h, err := hub.Open(dir, hub.Limits{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := open()
	for _, name := range []string{"torn", "whole"} {
		if _, err := h.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	h.Close()
	// An empty pack, as git writes it, and one without content.
	whole := "PACK\x00\x00\x00\x02\x00\x00\x00\x00\x02\x9d\x08\x82\x3b\xd8\xa8\xea\xb5\x10\xad\x6a\xc7\x5c\x82\x3c\xfd\x3e\xd3\x1e"
	for name, content := range map[string]string{"torn": "", "whole": whole} {
		if err := os.WriteFile(filepath.Join(dir, name+".git", "objects", "pack", "pack-1.pack"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h = open()
	defer h.Close()
	for name, want := range map[string]int{"torn": 0, "whole": 1} {
		left, err := filepath.Glob(filepath.Join(dir, name+".git", "objects", "pack", "*"))
		if err != nil || len(left) != want {
			t.Errorf("%s has %d packs, %v; want %d", name, len(left), err, want)
		}
	}
}
