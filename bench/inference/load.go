package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/formicarium/formicarium/netra/trace"
)

// load sends the requests, so many at a time.
func (w *world) load(ctx context.Context, inFlight, requests int, seed uint64) error {
	numbers := make(chan int)
	faults := make(chan error, inFlight)
	var clients sync.WaitGroup
	failed, fail := context.WithCancel(ctx)
	defer fail()
	for i := range inFlight {
		clients.Go(func() {
			if err := w.user(numbers, rand.New(rand.NewPCG(seed, uint64(i)))); err != nil {
				faults <- err
				fail()
			}
		})
	}
	for n := range requests {
		select {
		case numbers <- n:
		case <-failed.Done():
		}
	}
	close(numbers)
	clients.Wait()
	close(faults)
	var err error
	for fault := range faults {
		err = errors.Join(err, fault)
	}
	return errors.Join(err, ctx.Err())
}

// user sends one request after the other.
func (w *world) user(numbers <-chan int, choice *rand.Rand) error {
	for n := range numbers {
		w.rest(choice, w.think)
		send := func() error { return w.ask(context.Background(), n) }
		if w.abandon > 0 && n%w.abandon == w.abandon-1 {
			send = func() error { return w.giveUp(n, choice) }
		}
		if err := send(); err != nil {
			return fmt.Errorf("sending request %d: %w", n, err)
		}
	}
	return nil
}

func (w *world) ask(ctx context.Context, number int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://app/orders/"+strconv.Itoa(number), nil)
	if err != nil {
		return err
	}
	request.Header.Set(truthHeader, strconv.Itoa(number))
	if w.page > 0 {
		request.Header.Set("traceparent", fmt.Sprintf("00-%032x-%016x-01", number/w.page+1, number+1))
	}
	response, err := w.asking.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && string(body) != "done" {
		err = fmt.Errorf("the answer is %q", body)
	}
	return err
}

// giveUp sends a request and does not wait for its answer.
func (w *world) giveUp(number int, choice *rand.Rand) error {
	if w.http2 {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(1+time.Duration(choice.Int64N(int64(w.pause))), cancel)
		if err := w.ask(ctx, number); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
	conn, err := net.Dial("tcp", w.inbound.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /orders/%d HTTP/1.1\r\nHost: app\r\n%s: %[1]d\r\n\r\n", number, truthHeader); err != nil {
		return err
	}
	w.rest(choice, w.pause)
	if w.reset {
		return conn.(*net.TCPConn).SetLinger(0)
	}
	return nil
}

// judge compares what was caused with what the spans say.
func (w *world) judge(r *row) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for deadline := time.Now().Add(patience); !w.complete(); {
		if time.Now().After(deadline) {
			return errors.New("waiting for the spans of all calls: some have not come")
		}
		w.mu.Unlock()
		time.Sleep(time.Millisecond)
		w.mu.Lock()
	}
	for id, c := range w.calls {
		s := w.spans[id]
		counts := map[string]*links{causeRequest: &r.Caused, causeTimer: &r.Timer, causeAfter: &r.After}[c.kind]
		link := trace.Link(tag(s, "netra.link"))
		if err := counts.add(link); err != nil {
			return err
		}
		if c.kind != causeRequest || w.requests[c.request] != spanID(s.Context.Parent) {
			continue
		}
		switch link {
		case trace.LinkInferred:
			r.Right++
		case trace.LinkLikely:
			r.RightLikely++
		}
	}
	return nil
}

// complete reports whether there is a span for each call.
func (w *world) complete() bool {
	for id := range w.calls {
		if _, ok := w.spans[id]; !ok {
			return false
		}
	}
	return true
}
