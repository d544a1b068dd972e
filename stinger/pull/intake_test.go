package pull

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/formicarium/formicarium/stinger/gittest"
)

// packOf has git make a pack of all that a hub has.
func packOf(t testing.TB, hub *gittest.Hub, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	hub.Git(append([]string{"pack-objects", "--all", "--quiet", filepath.Join(dir, "all")}, args...)...)
	packs, err := filepath.Glob(filepath.Join(dir, "*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs: %q, %v", packs, err)
	}
	data, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// history is a few commits with files of several sizes, and much alike.
func history(t testing.TB) *gittest.Hub {
	hub := gittest.New(t)
	line := strings.Repeat("much the same ", 40)
	for version := range 3 {
		for i := range 20 {
			hub.Write(fmt.Sprintf("d%d/f%d", i%3, i), fmt.Sprint(line, i, version), 0o644)
		}
		hub.Write("large", strings.Repeat(fmt.Sprint(version, line), inMemory/len(line)), 0o644)
		hub.Write("empty", "", 0o644)
		hub.Commit()
	}
	return hub
}

// TestKeep: what is kept is what came, its index is git's, and the files are shown.
func TestKeep(t *testing.T) {
	hub := history(t)
	pack := packOf(t, hub, "--window=0")
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	shown := map[plumbing.Hash]string{}
	id, err := s.keepPack(bytes.NewReader(pack), func(hash plumbing.Hash, content []byte) { shown[hash] = string(content) })
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.dir, "objects", "pack", "pack-"+id)
	if got, _ := os.ReadFile(path + ".pack"); !bytes.Equal(got, pack) {
		t.Errorf("the kept pack has %d bytes, and is not the one of %d that came", len(got), len(pack))
	}
	want := filepath.Join(t.TempDir(), "git.idx")
	hub.Git("index-pack", "-o", want, path+".pack")
	index, _ := os.ReadFile(want)
	if got, _ := os.ReadFile(path + ".idx"); !bytes.Equal(got, index) {
		t.Error("the index is not the one that git makes")
	}
	for hash, content := range shown {
		if hashBlob(strings.NewReader(content), int64(len(content))) != hash {
			t.Errorf("%s was shown with other content, of %d bytes", hash, len(content))
		}
	}
	if len(shown) != 61 { // three versions of 20, and the empty one; not the large ones
		t.Errorf("%d files were shown", len(shown))
	}
}

// TestKeepDeltas: a pack with differences is taken in all the same.
func TestKeepDeltas(t *testing.T) {
	for _, args := range [][]string{{"--delta-base-offset"}, nil} {
		hub := history(t)
		pack := packOf(t, hub, append(args, "--window=10")...)
		if _, _, err := keep(bytes.NewReader(pack), io.Discard, nil); !errors.Is(err, errDeltas) {
			t.Fatalf("keep = %v: the pack should have differences", err)
		}
		s, err := openStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.keepPack(bytes.NewReader(pack), nil); err != nil {
			t.Fatal(err)
		}
		s.reopen()
		head := plumbing.NewHash(strings.TrimSpace(hub.Git("rev-parse", "HEAD")))
		if _, err := s.commitTree(head); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(s.dir, "objects", "pack", "tmp*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

// TestKeepRefuses: a pack that ends early, or goes on, or is not what its checksum
// says, is none.
func TestKeepRefuses(t *testing.T) {
	hub := gittest.New(t)
	hub.Write("a", strings.Repeat("a", 300), 0o644)
	hub.Commit()
	pack := packOf(t, hub)
	if _, _, err := keep(bytes.NewReader(pack), io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	for n := range pack {
		if _, _, err := keep(bytes.NewReader(pack[:n]), io.Discard, nil); err == nil {
			t.Fatalf("the first %d of %d bytes are taken for a pack", n, len(pack))
		}
		changed := bytes.Clone(pack)
		changed[n] ^= 0x40
		if _, _, err := keep(bytes.NewReader(changed), io.Discard, nil); err == nil {
			t.Fatalf("a pack with byte %d changed is taken", n)
		}
	}
	if _, _, err := keep(bytes.NewReader(append(bytes.Clone(pack), 0)), io.Discard, nil); err == nil {
		t.Error("a pack with a byte more is taken")
	}
	if _, _, err := keep(bytes.NewReader(pack), fullDisk{}, nil); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("with a full disk: %v", err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// FuzzKeep gives whatever it is a right number of objects and a right checksum, so
// that the objects themselves are reached.
func FuzzKeep(f *testing.F) {
	hub := gittest.New(f)
	hub.Write("a", "a", 0o644)
	hub.Commit()
	pack := packOf(f, hub)
	f.Add(pack[packHead:len(pack)-20], uint8(3))
	f.Add([]byte{0x70, 1, 2, 3}, uint8(1))
	f.Add([]byte{0xb0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}, uint8(1))
	f.Fuzz(func(t *testing.T, objects []byte, n uint8) {
		data := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(n))
		data = append(data, objects...)
		sum := sha1.Sum(data)
		var kept bytes.Buffer
		_, index, err := keep(bytes.NewReader(append(data, sum[:]...)), &kept, func(hash plumbing.Hash, content []byte) {
			if hashBlob(bytes.NewReader(content), int64(len(content))) != hash {
				t.Errorf("%s is shown with other content", hash)
			}
		})
		if err != nil {
			return
		}
		if count, err := index.Count(); err != nil || count > int64(n) {
			t.Errorf("the index has %d objects (%v), the pack %d", count, err, n)
		}
		if !bytes.Equal(kept.Bytes(), append(data, sum[:]...)) {
			t.Error("what was kept is not what came")
		}
	})
}
