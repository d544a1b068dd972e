package push

import (
	"bytes"
	"crypto/sha1" // what a pack ends in
	"encoding/binary"
	"hash"
	"io"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

// pack is a pack to send: its entries are copied from the store as they are,
// so its size is known before.
type pack struct {
	head    []byte
	entries []*io.SectionReader
	size    int64
}

func newPack(src Source, ids []object.ID) (*pack, error) {
	p := &pack{head: []byte("PACK\x00\x00\x00\x02"), entries: make([]*io.SectionReader, 0, len(ids))}
	p.head = binary.BigEndian.AppendUint32(p.head, uint32(len(ids)))
	p.size = int64(len(p.head)) + sha1.Size
	for _, id := range ids {
		e, err := src.Entry(id)
		if err != nil {
			return nil, err
		}
		p.entries = append(p.entries, e)
		p.size += e.Size()
	}
	return p, nil
}

// reader returns the pack's bytes, from the start each time.
func (p *pack) reader() io.Reader {
	return &packReader{pack: p, sum: sha1.New()}
}

type packReader struct {
	pack *pack
	sum  hash.Hash
	next int   // the entry that is being copied
	pos  int64 // in it; kept here, since a pack may be read twice
	buf  bytes.Buffer
	done bool
}

// chunk is how much of a pack is gathered before it goes on, in bytes: small
// objects would be a write each.
const chunk = 64 << 10

func (r *packReader) Read(b []byte) (int, error) {
	if r.buf.Len() == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	return r.buf.Read(b)
}

// fill gathers the next bytes.
func (r *packReader) fill() error {
	if r.done {
		return io.EOF
	}
	r.buf.Reset()
	if r.next == 0 && r.pos == 0 {
		r.buf.Write(r.pack.head)
	}
	for r.buf.Len() < chunk && r.next < len(r.pack.entries) {
		e := r.pack.entries[r.next]
		n, err := io.Copy(&r.buf, io.NewSectionReader(e, r.pos, chunk))
		if err != nil {
			return err
		}
		if r.pos += n; r.pos == e.Size() {
			r.next, r.pos = r.next+1, 0
		} else if n == 0 {
			return io.ErrUnexpectedEOF
		}
	}
	r.sum.Write(r.buf.Bytes())
	if r.next == len(r.pack.entries) {
		r.buf.Write(r.sum.Sum(nil))
		r.done = true
	}
	return nil
}
