package pull

import (
	"path"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "...", ".gitignore", ".github", "git", "a b", "..a", ".git2", "\xff", "a\\b", strings.Repeat("n", 255)} {
		if err := checkName(name); err != nil {
			t.Errorf("checkName(%q) = %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "/", "a/b", "a\x00", ".git", ".GIT", ".git.", ".git ", "git~1", ".git:x", ".git\\x", ".gi\u200ct",
		".stinger-tmp-1", strings.Repeat("n", 256)} {
		if err := checkName(name); err == nil {
			t.Errorf("checkName(%q) = nil", name)
		}
	}
}

func TestCheckTarget(t *testing.T) {
	for _, c := range []struct {
		target string
		depth  int
		ok     bool
	}{
		{"a", 0, true}, {"a/b", 0, true}, {"./a", 0, true}, {"../a", 1, true}, {"../../a", 2, true}, {"..", 1, true}, {".", 0, true},
		{"a..b", 0, true}, {"...", 0, true},
		{"..", 0, false}, {"../../a", 1, false}, {"./../a", 0, false}, {"a/../b", 3, false}, {"/a", 3, false}, {"", 0, false}, {"a\x00", 0, false},
		{strings.Repeat("a/", 3000), 0, false},
	} {
		if err := checkTarget(c.target, c.depth); (err == nil) != c.ok {
			t.Errorf("checkTarget(%.20q, %d) = %v", c.target, c.depth, err)
		}
	}
}

// FuzzDecodeTree looks for tree objects whose names could lead out of the
// directory or into a git directory.
func FuzzDecodeTree(f *testing.F) {
	id := strings.Repeat("\x01", 20)
	f.Add([]byte("100644 a\x00" + id + "40000 b\x00" + id))
	f.Add([]byte("100644 ..\x00" + id))
	f.Add([]byte("120000 .GIT\x00" + id))
	f.Add([]byte("100644 a/b\x00" + id))
	f.Add([]byte("100644 a\x00"))
	f.Add([]byte("160000 .git \x00" + id))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := decodeTree(data)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, e := range entries {
			if p := path.Join("/root", e.name); path.Dir(p) != "/root" || path.Base(p) != e.name {
				t.Errorf("name %q leads to %s", e.name, p)
			}
			if strings.EqualFold(strings.TrimRight(e.name, ". "), ".git") || strings.Contains(e.name, "\x00") || len(e.name) > 255 {
				t.Errorf("name %q is accepted", e.name)
			}
			if seen[e.name] {
				t.Errorf("name %q is accepted twice", e.name)
			}
			seen[e.name] = true
		}
	})
}

// FuzzCheckTarget looks for link targets that lead out of the root.
func FuzzCheckTarget(f *testing.F) {
	for _, s := range []string{"a", "../a", "a/../..", "./..", "//", "..//.."} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, target string, depth int) {
		depth = int(uint(depth) % 10)
		if checkTarget(target, depth) != nil {
			return
		}
		// Far below a marked root no way up may pass the mark.
		if p := path.Join("/out/root"+strings.Repeat("/d", depth), target); p != "/out/root" && !strings.HasPrefix(p, "/out/root/") {
			t.Errorf("target %q at depth %d leads to %s", target, depth, p)
		}
	})
}
