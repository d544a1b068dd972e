package trace

// batch is a number of encoded spans, one behind the other.
type batch struct {
	bytes []byte
	ends  []int // of each span
}

// keptBatch is how much memory a batch keeps for the next one, in bytes: a usual
// one of OTLP's, of 512 spans.
const keptBatch = 512 << 10

func (b *batch) len() int { return len(b.ends) }

// upTo returns the bytes of the first n spans.
func (b *batch) upTo(n int) []byte {
	if n == 0 {
		return nil
	}
	return b.bytes[:b.ends[n-1]]
}

// add encodes one more span.
func (b *batch) add(encode func([]byte, *record) []byte, r *record) {
	b.bytes = encode(b.bytes, r)
	b.ends = append(b.ends, len(b.bytes))
}

// move appends the first n spans of b to another batch.
func (b *batch) move(to *batch, n int) {
	cut, base := len(b.upTo(n)), len(to.bytes)
	to.bytes = append(to.bytes, b.bytes[:cut]...)
	for _, end := range b.ends[:n] {
		to.ends = append(to.ends, base+end)
	}
	b.bytes = b.bytes[:copy(b.bytes, b.bytes[cut:])]
	b.ends = b.ends[:copy(b.ends, b.ends[n:])]
	for i := range b.ends {
		b.ends[i] -= cut
	}
}

// reset forgets the spans, and their memory if that is much.
func (b *batch) reset() {
	if cap(b.bytes) > keptBatch {
		*b = batch{}
	}
	b.bytes, b.ends = b.bytes[:0], b.ends[:0]
}
