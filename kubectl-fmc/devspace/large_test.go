package devspace

import (
	"strings"
	"testing"
)

// A large file is named where it is sent, once, with the way to leave it out.
func TestSyncTellsWhatIsLarge(t *testing.T) {
	s := newService(t)
	s.program()
	s.write("model.bin", strings.Repeat("x", 6<<20))
	const told = "large: model.bin (6.0 MiB); what no pod needs can be named in .fmcignore"
	if out, err := s.syncOnce(); err != nil || !strings.Contains(out, told) {
		t.Errorf("sync = %v, printed\n%s\nwant %q", err, out, told)
	}
	s.write("small", "x")
	if out, err := s.syncOnce(); err != nil || strings.Contains(out, "large: ") {
		t.Errorf("sync of a small file = %v, printed\n%s", err, out)
	}
}
