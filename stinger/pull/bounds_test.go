package pull

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// TestPackOfTooManyObjects says in its head that it has more objects than can be:
// nobody makes room for them.
func TestPackOfTooManyObjects(t *testing.T) {
	pack := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), 1<<32-1)
	sum := sha1.Sum(pack)
	pack = append(pack, sum[:]...)
	for name, a := range map[string]*answer{"first": {}, "more": {common: true}, "thin": {common: true, thin: true}} {
		s, err := openStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		a.pack = bytes.NewReader(pack)
		err = s.add(plumbing.NewHash("12"), a, func() func(plumbing.Hash, []byte) { return nil })
		if err == nil || !strings.Contains(err.Error(), "4294967295 objects") {
			t.Errorf("%s: add = %v, want the number refused", name, err)
		}
	}
}

// TestEarlyIsBounded shows files of a pack that would have a disk full of them.
func TestEarlyIsBounded(t *testing.T) {
	app := t.TempDir()
	root, err := os.OpenRoot(app)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	e := &early{app: root, workers: writers, most: 100 * block}
	file, err := e.begin()
	if err != nil {
		t.Fatal(err)
	}
	file(plumbing.Hash{1}, make([]byte, 10*block-1))
	for range 1000 { // one again and again
		file(plumbing.Hash{1}, make([]byte, 10*block-1))
	}
	for i := range 1000 {
		file(plumbing.Hash{2, byte(i), byte(i >> 8)}, []byte("small"))
	}
	e.finish()
	files, err := os.ReadDir(filepath.Join(app, incoming))
	if err != nil || len(files) != 91 {
		t.Errorf("%d files were written (%v), want the first, and 90 small ones", len(files), err)
	}
	if err := e.discard(); err != nil {
		t.Fatal(err)
	}
}

// TestPackThatComesAgain is the one that is here, and in use: its index is never
// half a one.
func TestPackThatComesAgain(t *testing.T) {
	pack := packOf(t, history(t), "--window=0")
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var infos []os.FileInfo
	for range 2 {
		id, err := s.keepPack(bytes.NewReader(pack), nil)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(s.dir, "objects", "pack", "pack-"+id+".idx"))
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, info)
	}
	if os.SameFile(infos[0], infos[1]) {
		t.Error("the index is written over the one that is in use")
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "objects", "pack", "*")); err != nil || len(left) != 2 {
		t.Errorf("what is here is %q (%v), want one pack and its index", left, err)
	}
}

// TestTreeThatIsTooLarge is small in its pack.
func TestTreeThatIsTooLarge(t *testing.T) {
	const size = maxTree + 1
	pack := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), 1)
	pack = append(pack, 0x80|byte(plumbing.TreeObject)<<4|size&0xf)
	for rest := size >> 4; rest > 0; rest >>= 7 {
		pack = append(pack, byte(rest&0x7f))
		if rest > 0x7f {
			pack[len(pack)-1] |= 0x80
		}
	}
	var deflated bytes.Buffer
	z := zlib.NewWriter(&deflated)
	zeros := make([]byte, size)
	if _, err := z.Write(zeros); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	pack = append(pack, deflated.Bytes()...)
	sum := sha1.Sum(pack)
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.keepPack(bytes.NewReader(append(pack, sum[:]...)), nil); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	if _, err := s.tree(plumbing.ComputeHash(plumbing.TreeObject, zeros)); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Errorf("tree = %v, want it refused for its size", err)
	}
}
