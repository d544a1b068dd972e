package smarthttp_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" // what a pack ends in
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// rawPack is a pack whose head says that it has that many objects.
func rawPack(objects uint32, entries ...[]byte) []byte {
	pack := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), objects)
	pack = append(pack, bytes.Join(entries, nil)...)
	sum := sha1.Sum(pack)
	return append(pack, sum[:]...)
}

// rawEntry is an entry of that kind, which says that it has that size; base is
// what a difference is to.
func rawEntry(t *testing.T, kind byte, size int, base, content []byte) []byte {
	t.Helper()
	head, rest := []byte{kind<<4 | byte(size&15)}, size>>4
	for ; rest > 0; rest >>= 7 {
		head[len(head)-1] |= 0x80
		head = append(head, byte(rest&0x7f))
	}
	var b bytes.Buffer
	b.Write(append(head, base...))
	z := zlib.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// send sends the body of a push and returns the answer.
func send(url string, body []byte) ([]byte, error) {
	response, err := http.Post(url+"/git-receive-pack", "application/x-git-receive-pack-request", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

// copies is a difference that makes n MiB of a base of one.
func copies(n uint64) []byte {
	delta := binary.AppendUvarint(binary.AppendUvarint(nil, 1<<20), n<<20)
	for range n {
		delta = append(delta, 0x80|0x40, 0x10) // copy 0x100000 bytes from 0
	}
	return delta
}

// A push of some kilobytes that would become gigabytes in memory is refused,
// at no such cost, and harms nothing.
func TestMemoryBombs(t *testing.T) {
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	base := make([]byte, 1<<20)
	blob := object("blob", int64(len(base)))
	blob.Write(base)
	id := blob.Sum(nil)
	bomb := copies(2 << 10)
	for name, pack := range map[string][]byte{
		"a difference that makes 2 GiB": rawPack(2, rawEntry(t, 3, len(base), nil, base), rawEntry(t, 7, len(bomb), id, bomb)),
		"4 billion objects":             rawPack(1<<32 - 1),
		"a difference that lies":        rawPack(2, rawEntry(t, 3, len(base), nil, base), rawEntry(t, 7, 40, id, binary.AppendUvarint(binary.AppendUvarint(nil, 1<<20), 1<<40))),
		"an object that lies":           rawPack(1, rawEntry(t, 3, 1<<40, nil, base)),
		"a tree of 2 GiB":               rawPack(1, rawEntry(t, 2, 2<<30, nil, base)),
		"a circle of differences":       rawPack(1, rawEntry(t, 7, len(bomb), bytes.Repeat([]byte{1}, 20), bomb)),
	} {
		peak := watchProcesses(t, h.Dir)
		command := strings.Repeat("0", 40) + " " + strings.Repeat("1", 40) + " refs/heads/main\x00 report-status side-band-64k"
		answer, err := send(url, fmt.Appendf(nil, "%04x%s0000%s", len(command)+4, command, pack))
		if err != nil || bytes.Contains(answer, []byte("unpack ok")) || h.Head("orders") != "" {
			t.Errorf("%s: answered %q, %v, want a refusal", name, answer, err)
		}
		if got := peak(); got > 400<<20 {
			t.Errorf("%s: git had %d MiB", name, got>>20)
		}
	}
	settled(t, h, "orders")
	w := newWorktree(t)
	head := w.commit("a.txt", "one\n")
	w.git("push", "-q", url, "main")
	if got := h.Head("orders"); got != head {
		t.Errorf("afterwards a push leads to %q, want %q", got, head)
	}
}
