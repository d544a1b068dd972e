package load

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// engine is a run.
type engine struct {
	config  Config
	request []byte
	epoll   int
	slots   []slot
	free    ring
	result  Result
	buffer  []byte
	began   time.Time
	source  int

	schedule   schedule
	next       int // the request that is due next
	start      int64
	recordFrom int64
	end        int64 // nothing is due from here on
	lastAnswer int64
	answers    int // after the warm-up
	service    []int64
	due        []int64
}

// slot is a connection, or with Churn the room for one.
type slot struct {
	fd        int // -1: none
	state     state
	due, sent int64
	answer    answer
}

type state uint8

const (
	idle state = iota
	connecting
	waiting // for the answer
)

// patience is how long after the end what was due is still sent, and answers
// are waited for.
const patience = 5 * time.Second

// maxSamples bounds a closed loop's: no single thread makes so many.
const maxSamples = 8 << 20

// Run runs a load to its end.
func Run(c Config) (*Result, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("reading the load: %w", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A collection in the middle of a run would be seen as latency.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("setting the timer slack: %w", err)
	}
	e, err := newEngine(c)
	if err != nil {
		return nil, err
	}
	defer e.close()
	if err := e.run(); err != nil {
		return nil, err
	}
	return e.finish(), nil
}

func newEngine(c Config) (*engine, error) {
	e := &engine{
		config:  c,
		request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", c.Path, c.Target),
		slots:   make([]slot, c.Conns),
		free:    newRing(c.Conns),
		buffer:  make([]byte, 256<<10),
		began:   time.Now(),
	}
	for i := range e.slots {
		e.slots[i] = slot{fd: -1, answer: answer{head: make([]byte, 0, maxHead)}}
	}
	var err error
	if e.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("opening an epoll instance: %w", err)
	}
	if !c.Churn {
		for i := range e.slots {
			err := e.dial(i)
			if err == nil {
				err = waitConnected(e.slots[i].fd)
			}
			if err != nil {
				e.close()
				return nil, fmt.Errorf("connecting to %s: %w", c.Target, err)
			}
		}
	}
	for i := range e.slots {
		e.free.push(i)
	}
	length := c.Warmup + c.Duration
	e.start = e.now() + int64(time.Millisecond)
	e.recordFrom = e.start + int64(c.Warmup)
	e.end = e.start + int64(length)
	samples := maxSamples
	if c.Rate > 0 {
		e.schedule = newSchedule(e.start, c.Rate, length)
		samples = e.schedule.total
		e.due = make([]int64, 0, samples)
	}
	e.service = make([]int64, 0, samples)
	return e, nil
}

func (e *engine) close() {
	for i := range e.slots {
		e.drop(i)
	}
	unix.Close(e.epoll)
}

// now returns nanoseconds since the run began.
func (e *engine) now() int64 { return int64(time.Since(e.began)) }

func (e *engine) run() error {
	events := make([]unix.EpollEvent, 512)
	giveUp := e.end + int64(patience)
	for {
		now := e.now()
		if now >= giveUp || (e.over(now) && e.free.len() == len(e.slots)) {
			return nil
		}
		n, errno := poll(e.epoll, events, e.send(now)-e.now())
		if errno != 0 {
			return fmt.Errorf("waiting for answers: %w", errno)
		}
		for i := range events[:n] {
			e.ready(int(events[i].Fd), events[i].Events)
		}
	}
}

// over reports whether nothing more is sent. What was due is sent, late or not.
func (e *engine) over(now int64) bool {
	if e.config.Rate > 0 {
		return e.next >= e.schedule.total
	}
	return now >= e.end
}

// send sends what is due, and returns when to come back at the latest.
func (e *engine) send(now int64) int64 {
	const long = int64(50 * time.Millisecond)
	for !e.over(now) && e.free.len() > 0 {
		due := now
		if e.config.Rate > 0 {
			if due = e.schedule.due(e.next); due > now {
				return due
			}
		} else if now < e.start {
			return e.start
		}
		e.next++
		i := e.free.pop()
		e.slots[i].due = due
		now = e.now()
		e.slots[i].sent = now
		if err := e.begin(i); err != nil {
			e.fail(i, err)
		}
	}
	return now + long
}

// begin sends a slot's request, or begins to connect first.
func (e *engine) begin(i int) error {
	if e.slots[i].fd >= 0 {
		return e.write(i)
	}
	if !e.config.Churn {
		e.result.Redials++
	}
	e.slots[i].state = connecting
	return e.dial(i)
}

func (e *engine) dial(i int) error {
	var from netip.Addr
	if n := len(e.config.Sources); n > 0 {
		from = e.config.Sources[e.source%n]
		e.source++
	}
	fd, err := connect(e.config.Target, from)
	if err != nil {
		return err
	}
	e.slots[i].fd = fd
	return watch(e.epoll, fd, i)
}

func (e *engine) write(i int) error {
	s := &e.slots[i]
	s.state = waiting
	s.answer.reset()
	e.result.Sent++
	n, errno := write(s.fd, e.request)
	if errno != 0 {
		return os.NewSyscallError("write", errno)
	}
	if n != len(e.request) {
		return io.ErrShortWrite
	}
	return nil
}

// ready is called at a change of a slot's connection.
func (e *engine) ready(i int, events uint32) {
	s := &e.slots[i]
	if s.fd < 0 {
		return
	}
	if s.state == connecting {
		if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
			return
		}
		err := connected(s.fd)
		if err == nil {
			err = e.write(i)
		}
		if err != nil {
			e.fail(i, err)
		}
		return
	}
	if events&^unix.EPOLLOUT == 0 {
		return // it has only become writable
	}
	for {
		n, errno := read(s.fd, e.buffer)
		if errno == unix.EAGAIN {
			return
		}
		done, err := e.arrived(s, n, errno)
		switch {
		case err != nil:
			e.fail(i, err)
			return
		case done:
			e.done(i)
			return
		case n < len(e.buffer):
			return
		}
	}
}

var errUnexpected = errors.New("bytes arrived that nobody had asked for")

// arrived judges what read returned.
func (e *engine) arrived(s *slot, n int, errno unix.Errno) (bool, error) {
	switch {
	case errno != 0:
		return false, os.NewSyscallError("read", errno)
	case n == 0:
		return false, io.ErrUnexpectedEOF
	case s.state == idle:
		return false, errUnexpected
	}
	return s.answer.feed(e.buffer[:n])
}

// done counts a complete answer.
func (e *engine) done(i int) {
	s, now := &e.slots[i], e.now()
	if s.answer.status/100 == 2 {
		e.result.OK++
	} else {
		e.result.BadStatus++
	}
	e.lastAnswer = now
	if s.due >= e.recordFrom {
		if now < e.end || e.config.Rate > 0 {
			e.answers++
		}
		if len(e.service) < cap(e.service) {
			e.service = append(e.service, now-s.sent)
			if e.config.Rate > 0 {
				e.due = append(e.due, now-s.due)
			}
		}
	}
	if e.config.Churn || s.answer.close {
		e.drop(i)
	}
	e.release(i)
}

// fail counts a request that has gone wrong, and gives its connection up. An
// idle connection that the other end closes is no request's loss: the next one
// dials again.
func (e *engine) fail(i int, err error) {
	s := &e.slots[i]
	switch {
	case s.state == connecting:
		e.result.ConnErrors++
	case s.state == waiting:
		e.result.Errors++
	case err == io.ErrUnexpectedEOF:
		e.drop(i)
		return
	default:
		e.result.Errors++
		e.result.LastError = err.Error()
		e.drop(i)
		return
	}
	e.result.LastError = err.Error()
	e.drop(i)
	e.release(i)
}

func (e *engine) drop(i int) {
	if e.slots[i].fd >= 0 {
		unix.Close(e.slots[i].fd)
		e.slots[i].fd = -1
	}
}

func (e *engine) release(i int) {
	e.slots[i].state = idle
	e.free.push(i)
}

func (e *engine) finish() *Result {
	r := &e.result
	r.TargetRate = e.config.Rate
	r.Unanswered = len(e.slots) - e.free.len()
	if e.config.Rate > 0 {
		r.NotSent = e.schedule.total - e.next
	}
	// Answers that came late count, and so does the time that they took.
	span := max(e.end, e.lastAnswer) - e.recordFrom
	if e.config.Rate == 0 {
		span = e.end - e.recordFrom
	}
	r.Rate = float64(e.answers) / time.Duration(span).Seconds()
	r.Samples = len(e.service)
	r.Service, r.Due = summarise(e.service), summarise(e.due)
	return r
}
