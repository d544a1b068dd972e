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
// So nothing of a request is kept beyond its end but these bytes, and at most queueSize spans and one batch are held, whatever becomes of the
// back end, and a span costs the connection that it is of no more than its place
// in the queue. While no span waits nothing runs.
type batcher struct {
	limits   batchLimits
	sink     sink
	failures failures
	metrics  *metrics.Set

	mu      sync.Mutex
	waiting batch
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
	n := b.waiting.len()
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
	var spans batch
	for b.await() {
		b.take(&spans)
		_ = b.send(&spans) // what is lost has been counted and logged
		spans.reset()
	}
	for {
		b.take(&spans)
		switch {
		case spans.len() == 0:
			return
		case b.err != nil: // the collector was there for none of the others
			b.metrics.Dropped.Add(uint64(spans.len()))
		default:
			if err := b.send(&spans); err != nil {
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
	return b.waiting.len()
}

// take moves up to a batch from the queue into spans, whose own have been sent.
func (b *batcher) take(spans *batch) {
	spans.reset()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting.len() <= b.limits.batchSize {
		*spans, b.waiting = b.waiting, *spans
		return
	}
	b.waiting.move(spans, b.limits.batchSize)
}

// send sends a batch. What is lost is counted and logged.
func (b *batcher) send(spans *batch) error {
	n := spans.len()
	r, err := b.sink.send(b.ctx, spans, b.stopping)
	if err != nil {
		r = receipt{lost: n, note: err.Error()}
	}
	if r.note != "" {
		b.failures.Error(r.note)
	}
	b.metrics.Dropped.Add(uint64(r.lost))
	return err
}
