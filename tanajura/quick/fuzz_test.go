package quick

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"errors"
	"os"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// FuzzPack feeds packs whose checksum is right. What is taken must be what git
// would find in it, and stays within the bounds.
func FuzzPack(f *testing.F) {
	var blob bytes.Buffer
	w := zlib.NewWriter(&blob)
	w.Write([]byte("hello\n"))
	w.Close()
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x00"))
	f.Add(append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01\x36"), blob.Bytes()...))
	f.Add(append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01\xb6\x80\x80\x80\x01"), blob.Bytes()...))
	f.Add(append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x02\x36"), blob.Bytes()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		sum := sha1.Sum(data)
		p, err := parsePack(append(bytes.Clone(data), sum[:]...))
		if err != nil {
			if !errors.Is(err, ErrDoubt) {
				t.Fatalf("the error is not ErrDoubt: %v", err)
			}
			return
		}
		total := 0
		for id, o := range p.objects {
			if plumbing.ComputeHash(o.kind, o.content) != id {
				t.Errorf("object %s has another id", id)
			}
			total += len(o.content)
			if o.kind == plumbing.TreeObject {
				if entries, err := parseTree(o.content); err == nil {
					_ = checkEntries(entries, nil)
				}
			}
		}
		if total > maxContent || len(p.objects) > maxObjects {
			t.Errorf("%d objects with %d bytes", len(p.objects), total)
		}
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := p.write(root, "."); err != nil {
			t.Errorf("a pack that is taken cannot be written: %v", err)
		}
	})
}
