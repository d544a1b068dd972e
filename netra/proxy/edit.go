package proxy

import (
	"bytes"
	"sync"

	"github.com/formicarium/formicarium/netra/proxy/http1"
	"github.com/formicarium/formicarium/netra/trace"
)

// outSize is room for a common head and what is inserted; maxOut is what is
// still kept for another connection.
const (
	outSize = 4 << 10
	maxOut  = 64 << 10
)

var outs = sync.Pool{New: func() any { b := make([]byte, 0, outSize); return &b }}

func (h *half) freeOut() {
	if h.outPool == nil {
		return
	}
	if cap(h.out) <= maxOut {
		*h.outPool = h.out[:0]
		outs.Put(h.outPool)
	}
	h.out, h.outPool = nil, nil
}

// startOut makes h.out ready to take edited bytes.
func (h *half) startOut() {
	if h.outPool == nil {
		h.outPool = outs.Get().(*[]byte)
		h.out = *h.outPool
	}
}

// edit writes header fields into the head at the window's r: new values in the
// place of the old ones, new fields before the empty line. Every other byte
// stays as it came.
func (h *half) edit(m *http1.Message, edits []trace.Edit) {
	if len(edits) == 0 {
		return
	}
	h.startOut()
	if replaces(edits) {
		for span := range m.Spans() {
			if value, ok := replacement(m.Head[span.Name:span.NameEnd], edits); ok {
				h.copyTo(h.r + span.Value)
				h.out = append(h.out, value...)
				h.done = h.r + span.ValueEnd
			}
		}
	}
	h.copyTo(h.r + len(m.Head) - len("\r\n"))
	for _, e := range edits {
		if !e.Replace {
			h.out = append(h.out, e.Name...)
			h.out = append(h.out, ": "...)
			h.out = append(h.out, e.Value...)
			h.out = append(h.out, "\r\n"...)
		}
	}
}

// copyTo copies the window's bytes before at to the edited ones.
func (h *half) copyTo(at int) {
	h.out = append(h.out, h.buf[h.done:at]...)
	h.done = at
}

func replaces(edits []trace.Edit) bool {
	for _, e := range edits {
		if e.Replace {
			return true
		}
	}
	return false
}

func replacement(name []byte, edits []trace.Edit) ([]byte, bool) {
	for _, e := range edits {
		if e.Replace && len(name) == len(e.Name) && bytes.EqualFold(name, []byte(e.Name)) {
			return e.Value, true
		}
	}
	return nil, false
}
