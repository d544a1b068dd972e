package proxy

import (
	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/proxy/http2"
	"github.com/formicarium/formicarium/netra/trace"
)

// maxPending bounds how many requests a client may send ahead of their answers
// before the connection is only copied; servers take far fewer.
const maxPending = 1000

// exchange is what the two halves of a connection know in common: the HTTP/1
// requests that wait for their response, in order, the HTTP/2 streams, and
// whether they are still followed.
type exchange struct {
	link     *link
	queue    []*pending
	held     *held // waits until the queue is empty, and for its upstream
	any      bool  // there was a request
	counted  bool  // the blind copy was counted
	over     bool  // no further requests are followed
	isClosed bool
	blind    bool
	streams  *streams // once the connection is known to be HTTP/2
}

// pending is a request that waits for its response.
type pending struct {
	request  *trace.Request // nil after its end
	method   string
	sent     int64             // bytes of the request's body
	received int64             // bytes of the response's body
	answered bool              // the response's head was read
	refusal  bool              // a CONNECT or Upgrade that was told no
	early    bool              // bytes came before the answer
	h2c      bool              // asks to go on as HTTP/2
	settings []http2.Parameter // what the client announced with that
}

func (x *exchange) isBlind() bool { return x.blind }

// push adds a request; it reports false where no further one will be followed.
func (x *exchange) push(p *pending) bool {
	if x.isClosed { // the server's stream has ended
		x.end(p, trace.ReasonClosed, "")
		return false
	}
	if x.streams != nil { // the server has greeted with HTTP/2
		x.any = true
		x.link.flow.follow()
		x.goBlind("server_first")
		x.end(p, "", "server_first")
		return false
	}
	x.queue = append(x.queue, p)
	x.any = true
	x.link.flow.follow()
	if len(x.queue) >= maxPending {
		x.over = true
		x.count("too_many_pending")
		return false
	}
	return true
}

// front returns the request that the server answers next.
func (x *exchange) front() *pending {
	if len(x.queue) == 0 {
		return nil
	}
	return x.queue[0]
}

// inFront reports whether p still waits; an abort may have ended it.
func (x *exchange) inFront(p *pending) bool { return len(x.queue) > 0 && x.queue[0] == p }

// answer notes the head of a response other than an interim one. The request
// that it answers stays what it is: one for another protocol was refused.
func (x *exchange) answer(front *pending, status int) {
	if !x.inFront(front) {
		return
	}
	front.request.Answered(status)
	front.answered = true
	front.refusal = true
	if front.early {
		x.over = true
		x.count("early_data")
	}
}

// pop ends the request in front.
func (x *exchange) pop(front *pending, reason string) {
	if !x.inFront(front) {
		return
	}
	x.queue = x.queue[:copy(x.queue, x.queue[1:])]
	x.end(front, reason, "")
	if x.held != nil && len(x.queue) == 0 {
		x.link.wake()
	}
}

// end finishes one request.
func (x *exchange) end(p *pending, reason, blind string) {
	p.request.End(trace.Result{Reason: reason, Blind: blind, RequestBytes: p.sent, ResponseBytes: p.received})
	p.request = nil // it is another one from now on
}

func (x *exchange) endAll(reason, blind string) {
	for _, p := range x.queue {
		why := reason
		if p.answered && why == trace.ReasonClosed {
			why = trace.ReasonTruncated
		}
		x.end(p, why, blind)
	}
	x.queue = nil
	if x.held != nil {
		if x.held.pending != nil {
			x.end(x.held.pending, reason, blind)
		}
		x.held = nil
		x.link.wake()
	}
	if s := x.streams; s != nil {
		s.endAll(reason, blind)
	}
}

// close ends all requests that have no response.
func (x *exchange) close(reason string) {
	x.isClosed = true
	x.endAll(reason, "")
	x.blind = true
}

// requestsEnd says that no further requests are followed. Those in the queue
// still have their responses paired.
func (x *exchange) requestsEnd(reason string) {
	x.over = true
	x.count(reason)
}

// blindFor ends the following of both halves.
func (x *exchange) blindFor(reason string) {
	x.goBlind(reason)
}

func (x *exchange) goBlind(reason string) {
	x.blind = true
	x.count(reason)
	x.endAll("", reason)
	x.link.wake() // an unfinished head may be held
}

// unsolicited is called at bytes of the server's that answer no request.
func (x *exchange) unsolicited() {
	switch {
	case len(x.queue) > 0: // arrived meanwhile
	case x.any || x.over:
		x.goBlind("unsolicited_response")
	default:
		x.goBlind("server_first")
	}
}

// tunnel says that the request in front was answered by a change of protocol.
func (x *exchange) tunnel(front *pending, status int) {
	reason := "upgrade"
	if front.method == "CONNECT" {
		reason = "connect"
	}
	if x.inFront(front) {
		x.queue = x.queue[1:]
		front.request.Answered(status)
		x.end(front, "", "")
	}
	x.goBlind(reason)
}

// early is called at the first byte after a request that asks for another
// protocol and reports whether that was refused.
func (x *exchange) early(p *pending) (refused bool) {
	p.early = !p.refusal
	return p.refusal
}

// count counts the blind copy, once for a connection.
func (x *exchange) count(reason string) {
	if !x.any {
		x.link.flow.giveUp()
	}
	if x.counted {
		return
	}
	x.counted = true
	x.link.proxy.metrics.Blind.Add(metrics.Cause{Direction: x.link.direction.String(), Reason: reason}, 1)
}
