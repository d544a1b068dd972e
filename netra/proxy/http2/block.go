package http2

// BlockFrames is where the frames of one header block lie in the bytes that
// they were found in, which its methods take as src.
type BlockFrames struct {
	frames []blockFrame
	size   int
	whole  bool
}

// blockFrame is one of them: its header at at, its fragment of the block from
// from to to, then padding up to end.
type blockFrame struct {
	header
	at, from, to, end int
}

func (b *BlockFrames) reset() { *b = BlockFrames{frames: b.frames[:0]} }

func (b *BlockFrames) add(h header, before, padding int) {
	end := b.size + headerSize + h.length
	b.frames = append(b.frames, blockFrame{h, b.size, b.size + headerSize + before, end - padding, end})
	b.size = end
}

// Content returns the block without its framing: a part of src where it is in
// one frame, else a copy.
func (b *BlockFrames) Content(src []byte) (content []byte) {
	if len(b.frames) == 1 {
		return src[b.frames[0].from:b.frames[0].to]
	}
	for _, f := range b.frames {
		content = append(content, src[f.from:f.to]...)
	}
	return content
}

// Insert appends to dst the block's frames as they came, with literals behind
// its last field: before the padding where the frame has room for them, else in
// a frame of their own. No payload grows beyond limit.
func (b *BlockFrames) Insert(dst, src, literals []byte, limit int) []byte {
	last := b.frames[len(b.frames)-1]
	dst = append(dst, src[:last.at]...)
	h := last.header
	fits := h.length+len(literals) <= limit
	if fits {
		h.length += len(literals)
	} else {
		h.flags &^= flagEndHeaders
	}
	dst = h.append(dst)
	dst = append(dst, src[last.at+headerSize:last.to]...)
	if fits {
		dst = append(dst, literals...)
	}
	dst = append(dst, src[last.to:last.end]...)
	if !fits {
		dst = continuations(dst, h.stream, literals, limit)
	}
	return dst
}

// Rewrite appends to dst the frames of a block with other content: the first
// keeps its flags, priority and padding.
func (b *BlockFrames) Rewrite(dst, src, content []byte, limit int) []byte {
	first := b.frames[0]
	framing := first.length - (first.to - first.from)
	n := min(len(content), limit-framing)
	h := first.header
	h.length = framing + n
	if h.flags &^= flagEndHeaders; n == len(content) {
		h.flags |= flagEndHeaders
	}
	dst = h.append(dst)
	dst = append(dst, src[first.at+headerSize:first.from]...)
	dst = append(dst, content[:n]...)
	dst = append(dst, src[first.to:first.end]...)
	if n < len(content) {
		dst = continuations(dst, h.stream, content[n:], limit)
	}
	return dst
}

// continuations appends the rest of a block.
func continuations(dst []byte, stream uint32, rest []byte, limit int) []byte {
	for len(rest) > 0 {
		n := min(len(rest), limit)
		h := header{length: n, kind: frameContinuation, stream: stream}
		if n == len(rest) {
			h.flags = flagEndHeaders
		}
		dst = append(h.append(dst), rest[:n]...)
		rest = rest[n:]
	}
	return dst
}
