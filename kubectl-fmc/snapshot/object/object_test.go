package object

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *Store, kind Kind, content string) ID {
	t.Helper()
	id, err := s.Put(NewEncoder(), kind, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestHash(t *testing.T) {
	// As git hash-object says.
	for content, want := range map[string]string{
		"":        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
		"hello\n": "ce013625030ba8dba906f756967f9e9ca394464a",
	} {
		if got := Hash(Blob, []byte(content)).String(); got != want {
			t.Errorf("Hash(%q) = %s, want %s", content, got, want)
		}
	}
}

func TestTreeOrder(t *testing.T) {
	id := Hash(Blob, nil)
	content := EncodeTree([]Entry{
		{"lib", ModeDir, id}, {"lib.go", ModeFile, id}, {"lib-a", ModeFile, id}, {"lib0", ModeFile, id}, {"li", ModeDir, id}, {"\xff", ModeLink, id},
	})
	entries, err := DecodeTree(content)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if got, want := strings.Join(names, " "), "li lib-a lib.go lib lib0 \xff"; got != want {
		t.Errorf("order = %q, want %q", got, want)
	}
	for n := range content {
		if _, err := DecodeTree(content[:n]); err == nil && !wholeEntries(content[:n]) {
			t.Errorf("DecodeTree of the first %d bytes is no error", n)
		}
	}
}

// wholeEntries reports whether content ends where an entry does.
func wholeEntries(content []byte) bool {
	for len(content) > 0 {
		i := bytes.IndexByte(content, 0)
		if i < 0 || len(content) < i+1+len(ID{}) {
			return false
		}
		content = content[i+1+len(ID{}):]
	}
	return true
}

func TestEntryHead(t *testing.T) {
	for _, size := range []int64{0, 1, 15, 16, 2047, 2048, 1 << 20, 1<<40 + 7} {
		kind, got, n, err := decodeHead(entryHead(Tree, size))
		if err != nil || kind != Tree || got != size || n != len(entryHead(Tree, size)) {
			t.Errorf("size %d: kind %v, size %d, %d bytes, %v", size, kind, got, n, err)
		}
	}
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	small := put(t, s, Tree, "content")
	large, err := s.PutLarge(bytes.NewReader(make([]byte, 1<<20)), 1<<20, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if want := Hash(Blob, make([]byte, 1<<20)); large != want {
		t.Errorf("large = %s, want %s", large, want)
	}
	for _, s := range []*Store{s, openStore(t, dir)} {
		if content, err := s.Read(small, Tree); err != nil || string(content) != "content" {
			t.Errorf("Read = %q, %v", content, err)
		}
		if content, err := s.Read(large, Blob); err != nil || !bytes.Equal(content, make([]byte, 1<<20)) {
			t.Errorf("Read of the large blob: %d bytes, %v", len(content), err)
		}
		if _, err := s.Read(small, Blob); !errors.Is(err, ErrDamaged) {
			t.Errorf("Read as another kind = %v, want ErrDamaged", err)
		}
		if _, err := s.Read(Hash(Blob, nil), Blob); !errors.Is(err, ErrMissing) {
			t.Errorf("Read of nothing = %v, want ErrMissing", err)
		}
	}
}

// TestLargeFails: a large object that cannot be read to its end leaves
// nothing behind.
func TestLargeFails(t *testing.T) {
	s := openStore(t, t.TempDir())
	if _, err := s.PutLarge(strings.NewReader("short"), 6, func() error { return nil }); !errors.Is(err, ErrSize) {
		t.Errorf("error = %v, want ErrSize", err)
	}
	moved := errors.New("moved")
	if _, err := s.PutLarge(strings.NewReader("right"), 5, func() error { return moved }); err != moved {
		t.Errorf("error = %v, want that of done", err)
	}
	if names, _ := filepath.Glob(filepath.Join(s.dir, "*")); len(names) > 0 || s.Has(Hash(Blob, []byte("right"))) {
		t.Errorf("left behind: %q", names)
	}
}

// TestTornSegment: what was written before a crash counts up to where it is
// whole.
func TestTornSegment(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	first, second := put(t, s, Tree, "first"), put(t, s, Tree, "second, and longer")
	names, _ := filepath.Glob(filepath.Join(dir, "*"+Suffix))
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for n := len(whole); n >= 0; n-- {
		if err := os.WriteFile(names[0], whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		torn := openStore(t, dir)
		if torn.Has(second) != (n == len(whole)) || torn.Has(second) && !torn.Has(first) {
			t.Errorf("%d of %d bytes: first %v, second %v", n, len(whole), torn.Has(first), torn.Has(second))
		}
		torn.Close()
	}
}

func TestCompact(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	kept := put(t, s, Tree, "kept")
	noise := bytes.NewBuffer(nil)
	for i := range 6 {
		noise.Reset()
		for n := uint32(i + 1); noise.Len() < 4<<20; n = n*1664525 + 1013904223 {
			noise.Write([]byte{byte(n >> 24), byte(n >> 16)})
		}
		put(t, s, Blob, noise.String())
	}
	before := s.Size()
	if err := s.Compact(map[ID]bool{kept: true}); err != nil {
		t.Fatal(err)
	}
	if s.Size() >= before/100 || s.Segments() != 1 {
		t.Errorf("size = %d of %d in %d segments", s.Size(), before, s.Segments())
	}
	again := put(t, s, Tree, "afterwards")
	for _, s := range []*Store{s, openStore(t, dir)} {
		for _, id := range []ID{kept, again} {
			if _, err := s.Read(id, Tree); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestCommit(t *testing.T) {
	tree, parent := Hash(Tree, nil), Hash(Blob, nil)
	content := EncodeCommit(tree, parent, time.Unix(1700000000, 5), "orders: 1 file changed")
	want := "tree " + tree.String() + "\nparent " + parent.String() + "\nauthor " + Identity + " 1700000000 +0000\ncommitter " + Identity + " 1700000000 +0000\n\norders: 1 file changed\n"
	if string(content) != want {
		t.Errorf("commit =\n%s\nwant\n%s", content, want)
	}
	if got, err := CommitTree(content); err != nil || got != tree {
		t.Errorf("CommitTree = %s, %v", got, err)
	}
}
