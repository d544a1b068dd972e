package trace

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// batcher keeps spans until there are enough of them to be sent. Each is put into
// a queue, if there is room, in the form in which the sink will send it; one
// goroutine takes batches from there and gives them to the sink:
//
//	record → sink.encode → waiting → run: take → sink.send
//
// So nothing of a request is kept beyond its end but these bytes, and at most
// queueSize spans and one batch of them, whatever becomes of the back end. While
// no span comes nothing runs.
type batcher struct {
	limits   batchLimits
	sink     sink
	failures failures
	metrics  *metrics.Set

	mu      sync.Mutex
	waiting batch
	awake   bool // run is to look at the queue within limits.delay
	closed  bool

	sending  batch         // run's
	wake     chan struct{} // holds one note that there may be something to do
	stopping chan struct{} // closed by Close
	stop     func()
	ctx      context.Context // of all requests
	cancel   context.CancelFunc
	done     chan struct{} // closed at run's end
	err      error         // of the last spans; after done
}

type batchLimits struct {
	// queueSize is how many spans may wait, batchSize how many are sent at
	// once; it is not above queueSize.
	queueSize, batchSize int
	// delay is how long a span may wait for others.
	delay time.Duration
}

// sink takes batches to a back end. Its methods are called by one goroutine, but
// for encode.
type sink interface {
	// encode appends a span as a batch has it. It may be called from any
	// goroutine.
	encode(b []byte, r *record) []byte
	// send sends a batch. With an error all of it is lost. When stopping is
	// closed no further attempt is waited for, and when ctx ends, nothing at
	// all.
	send(ctx context.Context, spans *batch, stopping <-chan struct{}) (receipt, error)
	close()
}

// receipt is a back end's answer to a batch.
type receipt struct {
	lost int    // spans that it did not take
	note string // what there is to be said about it
}

// newBatcher returns a batcher that does not run yet.
func newBatcher(limits batchLimits, to sink, set *metrics.Set, logger *slog.Logger) *batcher {
	b := &batcher{
		limits:   limits,
		sink:     to,
		failures: failures{logger: logger},
		metrics:  set,
		wake:     make(chan struct{}, 1),
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
	}
	b.stop = sync.OnceFunc(func() { close(b.stopping) })
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Export implements Exporter.
func (b *batcher) Export(s Span) { b.record(recordOf(s)) }

// record implements encoding.
func (b *batcher) record(r *record) {
	b.mu.Lock()
	if b.closed || b.waiting.len() >= b.limits.queueSize {
		b.mu.Unlock()
		b.metrics.Dropped.Add(1)
		return
	}
	b.waiting.add(b.sink.encode, r)
	due := !b.awake || b.waiting.len() == b.limits.batchSize
	b.awake = true
	b.mu.Unlock()
	if due {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// Close sends what is still waiting, until ctx ends.
func (b *batcher) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	release := context.AfterFunc(ctx, b.cancel)
	defer release()
	<-b.done // soon: all that it waits for ends with the requests' context
	b.cancel()
	b.sink.close()
	return b.err
}

// run sends batches as they become due, then what is left.
func (b *batcher) run() {
	defer close(b.done)
	for b.await() {
		b.take()
		_ = b.send() // what is lost has been counted and logged
	}
	for {
		b.take()
		switch {
		case b.sending.len() == 0:
			return
		case b.err != nil: // the collector was there for none of the others
			b.metrics.Dropped.Add(uint64(b.sending.len()))
		default:
			if err := b.send(); err != nil {
				b.err = fmt.Errorf("sending the last spans: %w", err)
			}
		}
	}
}

// await waits until a batch is full or its first span has waited for
// limits.delay, or for less where there was another batch just before: then the
// first span need not wake anybody. It returns false at the exporter's end.
func (b *batcher) await() bool {
	timer := time.NewTimer(b.limits.delay)
	defer timer.Stop()
	for {
		if isClosed(b.stopping) {
			return false
		}
		if b.length() >= b.limits.batchSize {
			return true
		}
		select {
		case <-b.stopping:
		case <-b.wake:
		case <-timer.C:
			if !b.rest() {
				return true
			}
			select {
			case <-b.stopping:
			case <-b.wake:
			}
			timer.Reset(b.limits.delay)
		}
	}
}

// rest lets the next span wake run, and gives the queue's memory back, unless a
// span waits.
func (b *batcher) rest() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting.len() > 0 {
		return false
	}
	b.waiting, b.sending, b.awake = batch{}, batch{}, false
	return true
}

func (b *batcher) length() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting.len()
}

// take moves up to a batch from the queue to where the last one was sent from.
func (b *batcher) take() {
	b.sending.reset()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting.len() <= b.limits.batchSize {
		b.sending, b.waiting = b.waiting, b.sending
		return
	}
	b.waiting.move(&b.sending, b.limits.batchSize)
}

// send sends the batch that was taken. What is lost is counted and logged.
func (b *batcher) send() error {
	n := b.sending.len()
	r, err := b.sink.send(b.ctx, &b.sending, b.stopping)
	if err != nil {
		r = receipt{lost: n, note: err.Error()}
	}
	if r.note != "" {
		b.failures.Error(r.note)
	}
	b.metrics.Dropped.Add(uint64(r.lost))
	return err
}
