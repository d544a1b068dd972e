package snapshot_test

import (
	"path/filepath"
	"testing"
)

// TestLineEnds: scripts reach the pod with LF, for they cannot run otherwise;
// every other file keeps what it has.
func TestLineEnds(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	h := newHub(t)
	for name, content := range map[string][2]string{
		"gradlew":         {"#!/bin/sh\r\necho \r a\r\n", "#!/bin/sh\necho \r a\n"},
		"lf.sh":           {"#!/bin/sh\nprintf 'a\\r\\n'\n", "#!/bin/sh\nprintf 'a\\r\\n'\n"},
		"cut.sh":          {"#!", "#!"},
		"end.sh":          {"#!/bin/sh\r", "#!/bin/sh\r"},
		".fmc/start":      {"exec ./serve\r\n", "exec ./serve\n"},
		".fmc/build.sh":   {"a\r\n\r\nb\r\n", "a\n\nb\n"},
		".fmc/cleanup":    {"rm -f x\r\n", "rm -f x\n"},
		".fmc/notes.txt":  {"a\r\n", "a\r\n"},
		"sub/.fmc/start":  {"a\r\n", "a\r\n"},
		"start":           {"a\r\n", "a\r\n"},
		"crlf.txt":        {"a\r\nb\r\n", "a\r\nb\r\n"},
		"mixed.bat":       {"a\r\nb\n", "a\r\nb\n"},
		"binary":          {"\x7fELF\r\n\x00", "\x7fELF\r\n\x00"},
		"not-first-#!.md": {" #!/bin/sh\r\n", " #!/bin/sh\r\n"},
	} {
		write(t, filepath.Join(dir, name), content[0])
		t.Cleanup(func() {
			if got := git(t, h.repository("orders"), nil, "cat-file", "blob", "main:"+name); got+"\n" != content[1] && got != content[1] {
				t.Errorf("%s: the hub has %q, want %q", name, got, content[1])
			}
		})
	}
	repo := open(t, dir)
	snap := take(t, repo)
	checkHub(t, h, pushTree(t, newPusher(h, repo), snap), snap)
	// Looking again changes nothing.
	if again := take(t, open(t, dir)); again.Tree != snap.Tree {
		t.Errorf("tree = %s, and then %s", snap.Tree, again.Tree)
	}
}
