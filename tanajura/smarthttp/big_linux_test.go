package smarthttp_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" // what git's object names are
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// bigPack is a pack of a commit whose files are noise, which is made while it is
// sent: it is never on the client's disk, nor in its memory.
type bigPack struct {
	files []int64 // their sizes
	tree  []byte
	head  []byte // the commit
	block [64 << 10]byte
}

func object(kind string, size int64) hash.Hash {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", kind, size)
	return h
}

// file writes the content of a file.
func (p *bigPack) file(w io.Writer, i int) error {
	noise, block := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}), p.block[:]
	for left := p.files[i]; left > 0; {
		n := min(left, int64(len(block)))
		noise.Read(block[:n])
		if _, err := w.Write(block[:n]); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

func newBigPack(t *testing.T, files []int64) *bigPack {
	t.Helper()
	p := &bigPack{files: files}
	for i, size := range files {
		blob := object("blob", size)
		if err := p.file(blob, i); err != nil {
			t.Fatal(err)
		}
		p.tree = blob.Sum(fmt.Appendf(p.tree, "100644 f%06d\x00", i))
	}
	tree := object("tree", int64(len(p.tree)))
	tree.Write(p.tree)
	p.head = fmt.Appendf(nil, "tree %x\nauthor t <t@example.com> 1700000000 +0000\ncommitter t <t@example.com> 1700000000 +0000\n\nbig\n", tree.Sum(nil))
	return p
}

func (p *bigPack) commit() string {
	h := object("commit", int64(len(p.head)))
	h.Write(p.head)
	return hex.EncodeToString(h.Sum(nil))
}

// write writes the pack.
func (p *bigPack) write(out io.Writer) error {
	sum := sha1.New()
	w := io.MultiWriter(out, sum)
	w.Write(binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(p.files)+2)))
	z, err := zlib.NewWriterLevel(w, zlib.NoCompression)
	if err != nil {
		return err
	}
	entry := func(kind byte, size int64, content func(io.Writer) error) error {
		head, rest := []byte{kind<<4 | byte(size&15)}, size>>4
		for ; rest > 0; rest >>= 7 {
			head[len(head)-1] |= 0x80
			head = append(head, byte(rest&0x7f))
		}
		w.Write(head)
		z.Reset(w)
		return errors.Join(content(z), z.Close())
	}
	plain := func(b []byte) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(b); return err }
	}
	err = errors.Join(entry(1, int64(len(p.head)), plain(p.head)), entry(2, int64(len(p.tree)), plain(p.tree)))
	for i := range p.files {
		if err == nil {
			err = entry(3, p.files[i], func(w io.Writer) error { return p.file(w, i) })
		}
	}
	_, last := out.Write(sum.Sum(nil))
	return errors.Join(err, last)
}

// push pushes the pack as the branch's first commit.
func (p *bigPack) push(url string) ([]byte, error) {
	r, w := io.Pipe()
	go func() {
		command := strings.Repeat("0", 40) + " " + p.commit() + " refs/heads/main\x00 report-status side-band-64k"
		fmt.Fprintf(w, "%04x%s0000", len(command)+4, command)
		w.CloseWithError(p.write(w))
	}()
	response, err := http.Post(url+"/git-receive-pack", "application/x-git-receive-pack-request", r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

// TestPushOf500MB: what the hub and its git processes hold grows neither with
// the push nor with the fetch of it.
func TestPushOf500MB(t *testing.T) {
	files := []int64{200 << 20, 150 << 20, 100 << 20}
	for range 10_000 { // and 50 MiB in small ones
		files = append(files, 5<<10)
	}
	h := hubtest.NewWithLimits(t, hub.Limits{})
	url := h.CreateRepository("orders")
	p := newBigPack(t, files)
	hubPeak, gitPeak := watchHeap(t), watchProcesses(t, h.Dir)
	answer, err := p.push(url)
	if err != nil || !bytes.Contains(answer, []byte("ok refs/heads/main")) || h.Head("orders") != p.commit() {
		t.Fatalf("the push ended with %v: %q", err, answer)
	}
	want := "want " + p.commit() + " ofs-delta side-band-64k\n"
	response, err := http.Post(url+"/git-upload-pack", "application/x-git-upload-pack-request", strings.NewReader(fmt.Sprintf("%04x%s00000009done\n", len(want)+4, want)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := io.Copy(io.Discard, response.Body); err != nil || n < 498<<20 {
		t.Errorf("fetched %d bytes, %v", n, err)
	}
	inHub, inGit := hubPeak(), gitPeak()
	t.Logf("500 MiB pushed and fetched: the hub's heap grew by %d MiB, its git processes had %d MiB at most", inHub>>20, inGit>>20)
	if inHub > 32<<20 || inGit > 100<<20 {
		t.Errorf("500 MiB took %d MiB of the hub's memory and %d MiB of git's", inHub>>20, inGit>>20)
	}
}

// watchProcesses returns a function that returns how much memory of their own
// the processes that run in dir had at most, in bytes.
func watchProcesses(t *testing.T, dir string) (peak func() uint64) {
	t.Helper()
	done, top := make(chan struct{}), make(chan uint64)
	go func() {
		highest := uint64(0)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				highest = max(highest, memoryIn(dir))
			case <-done:
				top <- highest
				return
			}
		}
	}()
	return func() uint64 {
		close(done)
		return <-top
	}
}

// memoryIn is RssAnon of all processes in dir: what is not the page cache's.
func memoryIn(dir string) (total uint64) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if cwd, err := os.Readlink(link); err != nil || cwd != dir && !strings.HasPrefix(cwd, dir+"/") {
			continue
		}
		text, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "status"))
		_, rest, _ := strings.Cut(string(text), "RssAnon:")
		var kib uint64
		if _, err := fmt.Sscan(rest, &kib); err == nil {
			total += kib << 10
		}
	}
	return total
}
