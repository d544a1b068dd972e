package proxy

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// loop runs its links on one goroutine, which is the only one to touch them;
// others give it functions to run (post).
type loop struct {
	proxy   *Proxy
	poller  *poller
	sources []entry // by descriptor
	marks   int32
	links   map[*link]struct{}
	again   []*half // have more to do, after others had their turn
	spare   []*half // again's other array
	scratch []byte  // what is read into where a window holds nothing
	closing bool

	mu     sync.Mutex
	posted []posted
	over   bool // nothing is run any more
}

// posted is what another goroutine wants done for a source.
type posted struct {
	source source
	do     func()
}

// source is what a descriptor belongs to.
type source interface {
	// ready is called at a change, with the poller's flags.
	ready(events uint32)
	// fault ends the source after a panic in ready.
	fault()
}

type entry struct {
	source source
	mark   int32 // tells it from those that had the descriptor before
}

func newLoop(p *Proxy) (*loop, error) {
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	return &loop{
		proxy: p, poller: poller, links: map[*link]struct{}{},
		scratch: make([]byte, smallWindow),
	}, nil
}

// register begins to call s at changes of fd.
func (l *loop) register(fd int, s source) error {
	l.marks++
	if err := l.poller.add(fd, l.marks); err != nil {
		return err
	}
	for len(l.sources) <= fd {
		l.sources = append(l.sources, entry{})
	}
	l.sources[fd] = entry{s, l.marks}
	return nil
}

// forget is called before fd is closed, be it registered or not.
func (l *loop) forget(fd int) {
	if fd < len(l.sources) {
		l.sources[fd] = entry{}
	}
}

// post has f run by the loop, soon, unless the loop is over. It may be called
// from any goroutine.
func (l *loop) post(s source, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.posted = append(l.posted, posted{s, f})
	if len(l.posted) == 1 {
		l.poller.ring()
	}
}

// after has f run by the loop when d is over.
func (l *loop) after(d time.Duration, s source, f func()) *time.Timer {
	return time.AfterFunc(d, func() { l.post(s, f) })
}

// run serves until stop has been called and every link has ended.
func (l *loop) run() error {
	defer l.finish()
	for !l.closing || len(l.links) > 0 {
		var events []event
		if len(l.again) > 0 {
			events = l.poller.glance()
		} else {
			var err error
			if events, err = l.poller.wait(); err != nil {
				return err
			}
		}
		for i := range events {
			l.dispatch(&events[i])
		}
		l.runAgain()
	}
	return nil
}

func (l *loop) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.poller.close()
}

func (l *loop) dispatch(event *event) {
	fd := int(event.Fd)
	if fd == l.poller.bell {
		l.poller.silence()
		l.runPosted()
		return
	}
	if e := l.sources[fd]; e.source != nil && e.mark == event.Pad {
		l.call(e.source, func() { e.source.ready(event.Events) })
	}
}

// stop ends the loop's links, and then the loop.
func (l *loop) stop(reason string) {
	l.closing = true
	l.abort(reason)
}

func (l *loop) abort(reason string) {
	for link := range l.links {
		link.abort(reason)
	}
}

// ready and fault make a loop the source of what is posted for itself.
func (l *loop) ready(uint32) {}

func (l *loop) fault() {}

func (l *loop) runPosted() {
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, p := range posted {
		l.call(p.source, p.do)
	}
}

func (l *loop) runAgain() {
	turn := l.again
	l.again = l.spare[:0]
	for _, h := range turn {
		h.queued = false
		l.call(h.from, h.look)
	}
	clear(turn)
	l.spare = turn
}

// call keeps a fault in one connection from ending the process.
func (l *loop) call(s source, f func()) {
	defer func() {
		if fault := recover(); fault != nil {
			l.proxy.metrics.Panics.Add(1)
			l.proxy.settings.Logger.Error("a connection ended by a fault", "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
			s.fault()
		}
	}()
	f()
}
