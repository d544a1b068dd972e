package trace

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// batcher keeps spans until there are enough of them to be sent. Export puts one
// into a queue, if there is room; one goroutine takes batches from there and
// gives them to the sink:
//
//	Export → waiting → run: take → sink.send
//
// So at most queueSize spans and one batch are held, whatever becomes of the
// back end, and a span costs the connection that it is of no more than its place
// in the queue. While no span waits nothing runs.
type batcher struct {
	limits   batchLimits
	sink     sink
	failures failures
	metrics  *metrics.Set

	mu      sync.Mutex
	waiting []Span
	closed  bool

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

// sink takes batches to a back end. Its methods are called by one goroutine.
type sink interface {
	// send sends a batch, whose spans it may clear. With an error all of it is
	// lost. When stopping is closed no further attempt is waited for, and when
	// ctx ends, nothing at all.
	send(ctx context.Context, batch []Span, stopping <-chan struct{}) (receipt, error)
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
func (b *batcher) Export(s Span) {
	b.mu.Lock()
	if b.closed || len(b.waiting) >= b.limits.queueSize {
		b.mu.Unlock()
		b.metrics.Dropped.Add(1)
		return
	}
	b.waiting = append(b.waiting, s)
	n := len(b.waiting)
	b.mu.Unlock()
	if n == 1 || n == b.limits.batchSize {
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
	var batch []Span
	for b.await() {
		batch = b.take(batch)
		_ = b.send(batch) // what is lost has been counted and logged
		if b.idle() {
			batch = nil
		}
	}
	for {
		batch = b.take(batch)
		switch {
		case len(batch) == 0:
			return
		case b.err != nil: // the collector was there for none of the others
			b.metrics.Dropped.Add(uint64(len(batch)))
		default:
			if err := b.send(batch); err != nil {
				b.err = fmt.Errorf("sending the last spans: %w", err)
			}
		}
	}
}

// await waits until a batch is full or its first span has waited for
// limits.delay. It returns false at the exporter's end.
func (b *batcher) await() bool {
	var due <-chan time.Time
	for {
		n := b.length()
		switch {
		case isClosed(b.stopping):
			return false
		case n >= b.limits.batchSize:
			return true
		case n > 0 && due == nil:
			timer := time.NewTimer(b.limits.delay)
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-b.stopping:
		case <-b.wake:
		case <-due:
			return true
		}
	}
}

func (b *batcher) length() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// idle reports whether no span waits; then the queue's memory is released.
func (b *batcher) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 {
		return false
	}
	b.waiting = nil
	return true
}

// take moves up to a batch from the queue into the memory of batch, whose spans
// have been sent.
func (b *batcher) take(batch []Span) []Span {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) <= b.limits.batchSize {
		batch, b.waiting = b.waiting, batch[:0]
		return batch
	}
	batch = append(batch[:0], b.waiting[:b.limits.batchSize]...)
	rest := copy(b.waiting, b.waiting[b.limits.batchSize:])
	clear(b.waiting[rest:])
	b.waiting = b.waiting[:rest]
	return batch
}

// send sends a batch. What is lost is counted and logged.
func (b *batcher) send(batch []Span) error {
	r, err := b.sink.send(b.ctx, batch, b.stopping)
	if err != nil {
		r = receipt{lost: len(batch), note: err.Error()}
	}
	if r.note != "" {
		b.failures.Error(r.note)
	}
	b.metrics.Dropped.Add(uint64(r.lost))
	return err
}
