package push

import (
	"context"
	"fmt"
	"io"
	"time"
)

// stallAfter is for how long a push may stand still. A hub at work sends an
// empty packet every 5 s, so this is a connection that is dead and does not
// know: the laptop slept, or the network is another one.
const stallAfter = 45 * time.Second

// headTimeout bounds a question that is answered from one small file.
const headTimeout = 20 * time.Second

// watchdog ends a request over which no byte has come or gone for a time.
type watchdog struct {
	timer *time.Timer
	after time.Duration
}

func guard(ctx context.Context, after time.Duration) (context.Context, *watchdog, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stalled := fmt.Errorf("the connection to the hub stood still for %v", after)
	w := &watchdog{after: after, timer: time.AfterFunc(after, func() { cancel(stalled) })}
	return ctx, w, func() { w.timer.Stop(); cancel(nil) }
}

// watch returns r, whose bytes count as signs of life.
func (w *watchdog) watch(r io.Reader) io.Reader { return &watched{w, r} }

type watched struct {
	dog *watchdog
	r   io.Reader
}

func (r *watched) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if n > 0 {
		r.dog.timer.Reset(r.dog.after)
	}
	return n, err
}
