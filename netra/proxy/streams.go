package proxy

import (
	"math"

	"github.com/formicarium/formicarium/netra/proxy/http2"
	"github.com/formicarium/formicarium/netra/trace"
)

// maxStreams bounds how many of a connection's streams are followed at a time;
// further ones pass untraced. Servers allow 100 to 250 by default.
const maxStreams = 1000

// streams is what the two halves of an HTTP/2 connection know in common besides
// the exchange.
type streams struct {
	x              *exchange
	client, server announced
	open           map[uint32]*stream
	last           uint32 // the highest stream that the server looks at
}

// stream is a request that waits for the end of its response.
type stream struct {
	request        *trace.Request
	sent, received int64 // bytes of the bodies
	answered       bool  // the response's head was read
}

// announced is what one end's SETTINGS allow the other. An end may go by an
// older value until it has seen the newer one, so what is allowed is the largest
// so far; frameSize is the newest.
type announced struct {
	maxFrame, maxTable, frameSize uint32
}

func (a *announced) start() {
	a.maxFrame = http2.MinFrameSize
	a.frameSize = http2.MinFrameSize
	a.maxTable = http2.DefaultTableSize
}

// set is called by the half that reads from the end, before the other end can
// see the parameter.
func (a *announced) set(p http2.Parameter) {
	switch p.ID {
	case http2.SettingFrameSize:
		if p.Value >= http2.MinFrameSize && p.Value <= http2.MaxFrameSize {
			a.frameSize = p.Value
			a.maxFrame = max(a.maxFrame, p.Value)
		}
	case http2.SettingTableSize:
		a.maxTable = max(a.maxTable, p.Value)
	}
}

// beginHTTP2 makes the connection one of HTTP/2, unless it is already.
func (x *exchange) beginHTTP2() *streams {
	if x.streams == nil {
		x.streams = &streams{x: x, open: map[uint32]*stream{}, last: math.MaxUint32}
		x.streams.client.start()
		x.streams.server.start()
	}
	return x.streams
}

// greeted is called where the server's first bytes are those of HTTP/2, and
// reports whether the client has not sent anything else so far.
func (x *exchange) greeted() bool {
	if x.any || x.over {
		return false
	}
	x.beginHTTP2()
	return true
}

// upgrade makes the request in front stream 1 of HTTP/2. It reports false where
// the client did not wait for the answer.
func (x *exchange) upgrade(front *pending) bool {
	if !x.inFront(front) || len(x.queue) > 1 || front.early {
		return false
	}
	x.queue = nil
	s := x.beginHTTP2()
	for _, p := range front.settings {
		s.client.set(p)
	}
	s.open[1] = &stream{request: front.request, sent: front.sent}
	return true
}

// full reports whether no further stream is followed now.
func (s *streams) full() bool {
	if len(s.open) < maxStreams {
		return false
	}
	s.x.count("too_many_streams")
	return true
}

// add adds a stream that the client opens.
func (s *streams) add(id uint32, st *stream) {
	s.x.link.flow.follow()
	switch {
	case s.x.isClosed: // the server's stream has ended
		st.end(trace.Result{Reason: trace.ReasonClosed})
	case id > s.last:
		st.end(trace.Result{Reason: trace.ReasonRefused, Unsent: true})
	default:
		s.open[id] = st
	}
}

// sent counts what the client sends on a stream.
func (s *streams) sent(id uint32, n int) {
	if st := s.open[id]; st != nil {
		st.sent += int64(n)
	}
}

// received counts what the server sends on a stream.
func (s *streams) received(id uint32, n int, end bool) {
	st := s.open[id]
	if st == nil {
		return
	}
	if st.received += int64(n); end {
		s.end(id, st, trace.Result{})
	}
}

// answer notes a header block of the server's: a head or trailers.
func (s *streams) answer(id uint32, a answer, end bool) {
	st := s.open[id]
	if st == nil {
		return
	}
	if a.status >= 200 && !st.answered {
		st.answered = true
		st.request.Answered(a.status)
	}
	if a.hasGRPC {
		st.request.GRPCStatus(a.grpc)
	}
	if end {
		s.end(id, st, trace.Result{})
	}
}

// reset ends a stream that one of the ends has given up.
func (s *streams) reset(id uint32, code http2.ErrorCode, byServer bool) {
	st := s.open[id]
	switch {
	case st == nil:
	case !byServer:
		s.end(id, st, trace.Result{Reason: trace.ReasonClientReset + ": " + code.String()})
	case code == http2.RefusedStream:
		s.end(id, st, trace.Result{Reason: trace.ReasonRefused, Unsent: true})
	default:
		s.end(id, st, trace.Result{Reason: trace.ReasonStreamReset + ": " + code.String()})
	}
}

// goAway ends the streams that the server says it has not looked at.
func (s *streams) goAway(last uint32) {
	s.last = last
	for id, st := range s.open {
		if id > last {
			s.end(id, st, trace.Result{Reason: trace.ReasonRefused, Unsent: true})
		}
	}
}

func (s *streams) end(id uint32, st *stream, result trace.Result) {
	delete(s.open, id)
	st.end(result)
}

func (st *stream) end(result trace.Result) {
	result.RequestBytes, result.ResponseBytes = st.sent, st.received
	st.request.End(result)
	st.request = nil // it is another one from now on
}

// endAll ends all streams.
func (s *streams) endAll(reason, blind string) {
	for id, st := range s.open {
		why := reason
		if st.answered && why == trace.ReasonClosed {
			why = trace.ReasonTruncated
		}
		s.end(id, st, trace.Result{Reason: why, Blind: blind})
	}
}
