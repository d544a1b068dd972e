package proxy

import (
	"iter"
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/netra/proxy/http2"
	"github.com/formicarium/formicarium/netra/trace"
)

// reasonHPACK says that a header block could not be decoded.
const reasonHPACK = "http2_hpack"

// clientFrames looks at what an HTTP/2 client sends. Header blocks are edited,
// all other frames are written as they come.
type clientFrames struct {
	*streams
	follower *http2.Follower
	decoder  *http2.Decoder
	// encoder writes every header block anew once it is there: from the first
	// one on in which a field's value had to change.
	encoder *http2.Encoder
	opened  uint32 // the highest stream so far
	raw     bool   // the rest is only copied
	head    headFields
}

func newClientFrames(s *streams) *clientFrames {
	c := &clientFrames{streams: s, follower: http2.NewFollower(http2.Client), decoder: http2.NewDecoder()}
	if len(s.open) > 0 { // the request that asked for HTTP/2
		c.opened = 1
	}
	return c
}

func (c *clientFrames) digest(h *half) (hold bool) {
	for h.r < h.w {
		// Where blocks are written anew that goes on, though nothing is traced
		// any more: the server's table is not the client's.
		if c.raw = c.raw || c.x.isBlind() && c.encoder == nil; c.raw {
			h.r = h.w
			c.x.link.unseen()
			return false
		}
		c.follower.Limit = int(c.server.maxFrame)
		piece := c.follower.Next(h.unread())
		switch piece.Kind {
		case http2.Need:
			return c.follower.Holding()
		case http2.Setting:
			c.client.set(c.follower.Setting)
		case http2.Data:
			c.sent(c.follower.Stream, c.follower.Payload)
		case http2.Block:
			c.block(h, piece.N)
		case http2.Reset:
			c.reset(c.follower.Stream, c.follower.Code, false)
		case http2.Doubt:
			c.doubt(string(c.follower.Reason))
		}
		h.r += piece.N
	}
	return false
}

func (c *clientFrames) doubt(reason string) {
	c.raw = true
	c.x.blindFor(reason)
}

// block edits the header block of n bytes at the window's r.
func (c *clientFrames) block(h *half, n int) {
	frames, src := &c.follower.Block, h.buf[h.r:h.r+n]
	content := frames.Content(src)
	fields, err := c.decoder.Decode(content, c.server.maxTable)
	if err != nil || c.encoder != nil && c.decoder.Truncated {
		c.doubt(reasonHPACK)
		return
	}
	request, edits := c.request(c.follower.Stream, fields)
	limit := int(c.server.frameSize)
	switch {
	case c.encoder == nil && !(replaces(edits) && c.mayRewrite()):
		if len(edits) > 0 {
			h.splice(n, frames.Insert(h.spliceAt(), src, literals(edits), limit))
		}
	default:
		if c.encoder == nil {
			c.encoder = http2.NewEncoder()
		}
		content = c.encoder.Encode(edited(fields, edits), content)
		h.splice(n, frames.Rewrite(h.spliceAt(), src, content, limit))
	}
	if request != nil { // it may end at once, and the edits with it
		// It must be known before the server can answer it.
		c.add(c.follower.Stream, &stream{request: request})
	}
}

// mayRewrite reports whether blocks may be written anew from here on: all
// further ones must then be decoded, whatever size the client's table has.
func (c *clientFrames) mayRewrite() bool {
	return !c.decoder.Truncated && c.server.maxTable <= http2.MaxTable
}

// request begins the request that a header block opens, and returns what is to
// be written into it. Trailers open none.
func (c *clientFrames) request(id uint32, fields []http2.Field) (*trace.Request, []trace.Edit) {
	if id <= c.opened {
		return nil, nil
	}
	c.opened = id
	if c.x.isBlind() || c.full() {
		c.x.link.unseen()
		return nil, nil
	}
	l := c.x.link
	head, ok := c.head.of(fields)
	if !ok { // a server should refuse it
		l.unseen()
		return nil, nil
	}
	head.Client, head.Server = l.from, l.destination
	request, edits := l.proxy.tracer.Begin(l.direction, head)
	l.unrouted(request)
	return request, edits
}

// spliceAt returns the edited bytes, those of the window before r included.
func (h *half) spliceAt() []byte {
	h.startOut()
	h.copyTo(h.r)
	return h.out
}

// splice takes the edited bytes with what is written instead of the next n.
func (h *half) splice(n int, out []byte) {
	h.out, h.done = out, h.r+n
}

// literals returns the inserted fields as they go into a header block. Names are
// in lower case there.
func literals(edits []trace.Edit) (p []byte) {
	for _, e := range edits {
		if !e.Replace {
			p = http2.AppendLiteral(p, strings.ToLower(e.Name), string(e.Value))
		}
	}
	return p
}

// edited applies the edits to the fields.
func edited(fields []http2.Field, edits []trace.Edit) []http2.Field {
	for i, f := range fields {
		if value, ok := replacement([]byte(f.Name), edits); ok {
			fields[i].Value = string(value)
		}
	}
	for _, e := range edits {
		if !e.Replace {
			fields = append(fields, http2.Field{Name: strings.ToLower(e.Name), Value: string(e.Value)})
		}
	}
	return fields
}

// headFields makes a trace.Head of a header block.
type headFields struct {
	bytes []byte
	ends  []int
}

// keptHead is how much room is kept for the next head.
const keptHead = 8 << 10

// of returns the head of a request, whose fields are valid until the next call,
// and whether it is one. What HTTP/1 has as Host is :authority here, and one
// Cookie field may have come in several.
func (x *headFields) of(fields []http2.Field) (head trace.Head, ok bool) {
	if x.bytes, x.ends = x.bytes[:0], x.ends[:0]; cap(x.bytes) > keptHead {
		x.bytes, x.ends = nil, nil
	}
	var method, target, authority string
	var cookies []string
	for _, f := range fields {
		switch f.Name {
		case ":method":
			method = f.Value
		case ":path":
			target = f.Value
		case ":authority":
			authority = f.Value
		case "cookie":
			cookies = append(cookies, f.Value)
		}
	}
	if method == "CONNECT" && target == "" {
		target = authority
	}
	if len(method) > maxMethod || !visible(method) || !visible(target) {
		return head, false
	}
	if authority != "" {
		x.add("host", authority)
	}
	if len(cookies) > 0 {
		x.add("cookie", strings.Join(cookies, "; "))
	}
	for _, f := range fields {
		if !f.IsPseudo() && f.Name != "cookie" && (authority == "" || f.Name != "host") {
			x.add(f.Name, f.Value)
		}
	}
	return trace.Head{Method: []byte(method), Target: []byte(target), Fields: x.fields()}, true
}

// maxMethod bounds a method: the longest registered one has 17 letters.
const maxMethod = 32

// visible reports whether s may be a request's method or target: in HTTP/2
// nothing else keeps control characters out of them.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

func (x *headFields) add(name, value string) {
	x.bytes = append(x.bytes, name...)
	x.ends = append(x.ends, len(x.bytes))
	x.bytes = append(x.bytes, value...)
	x.ends = append(x.ends, len(x.bytes))
}

func (x *headFields) fields() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		at := 0
		for i := 0; i < len(x.ends); i += 2 {
			name, value := x.bytes[at:x.ends[i]], x.bytes[x.ends[i]:x.ends[i+1]]
			if at = x.ends[i+1]; !yield(name, value) {
				return
			}
		}
	}
}

// serverFrames looks at what an HTTP/2 server sends. All of it is written at
// once.
type serverFrames struct {
	*streams
	follower *http2.Follower
	decoder  *http2.Decoder
	block    []byte // of the header block that is passing
}

func newServerFrames(s *streams) *serverFrames {
	return &serverFrames{streams: s, follower: http2.NewFollower(http2.Server), decoder: http2.NewDecoder()}
}

func (s *serverFrames) digest(h *half) (hold bool) {
	for h.r < h.w {
		if s.x.isBlind() {
			h.r = h.w
			return false
		}
		s.follower.Limit = int(s.client.maxFrame)
		piece := s.follower.Next(h.unread())
		switch piece.Kind {
		case http2.Need:
			return false
		case http2.Setting:
			s.server.set(s.follower.Setting)
		case http2.Data:
			s.received(s.follower.Stream, s.follower.Payload, piece.End)
		case http2.Fragment:
			s.fragment(piece.End)
		case http2.Reset:
			s.reset(s.follower.Stream, s.follower.Code, true)
		case http2.GoAway:
			s.goAway(s.follower.Stream)
		case http2.Doubt:
			s.x.blindFor(string(s.follower.Reason))
		}
		h.r += piece.N
	}
	return false
}

// answer is what a server's header block says.
type answer struct {
	status  int
	grpc    int
	hasGRPC bool
}

// fragment gathers a header block. It is decoded as a whole, for decoding it in
// hostile fragments would cost the square of its size.
func (s *serverFrames) fragment(end bool) {
	if len(s.block)+len(s.follower.Fragment) > http2.MaxBlock {
		s.x.blindFor(string(http2.ReasonBlockSize))
		return
	}
	block := s.follower.Fragment
	if !end || len(s.block) > 0 {
		s.block = append(s.block, block...)
		block = s.block
	}
	if !end {
		return
	}
	s.block = nil
	fields, err := s.decoder.Decode(block, s.client.maxTable)
	if err != nil {
		s.x.blindFor(reasonHPACK)
		return
	}
	if s.follower.Promise { // of a stream that no client asked for
		return
	}
	var a answer
	for _, f := range fields {
		switch f.Name {
		case ":status":
			if len(f.Value) == 3 { // the class is a metric's label
				a.status, _ = strconv.Atoi(f.Value)
			}
		case "grpc-status":
			code, err := strconv.ParseUint(f.Value, 10, 31)
			a.grpc, a.hasGRPC = int(code), err == nil
		}
	}
	s.answer(s.follower.Stream, a, s.follower.EndStream)
}
