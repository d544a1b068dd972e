package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/proxy"
	"github.com/formicarium/formicarium/netra/trace"
)

// The headers that carry the truth.
const (
	truthHeader = "X-Truth"       // the request's number
	causeHeader = "X-Truth-Cause" // cause* below
)

// What causes a call.
const (
	causeRequest = "request"
	causeTimer   = "timer"
	causeAfter   = "after"
)

// patience bounds every wait for something that should happen at once.
const patience = 20 * time.Second

// world is one load's application, callee, clients and proxy, and what they
// note.
type world struct {
	scenario
	inbound, outbound net.Addr
	asking, calling   *http.Client   // of the users, of the application
	server            *http.Server   // the application
	working           sync.WaitGroup // on what follows an answer

	mu       sync.Mutex
	requests map[int]string   // the span that a request came with, by its number
	calls    map[string]cause // what caused a call, by its span
	spans    map[string]trace.Span
}

type cause struct {
	request int
	kind    string
}

// Sample and Export make a world the exporter of its proxy.
func (w *world) Sample(trace.Context, string) bool { return true }

func (w *world) Export(s trace.Span) {
	if tag(s, "netra.link") == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spans[spanID(s.Context.Span)] = s
}

func spanID(id uint64) string { return fmt.Sprintf("%016x", id) }

func tag(s trace.Span, key string) string {
	for _, t := range s.Tags {
		if value, ok := t.Value.(string); ok && t.Key == key {
			return value
		}
	}
	return ""
}

// replay runs one load and says what netra made of it.
func replay(ctx context.Context, s scenario, inFlight, requests int, seed uint64) (row, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &world{scenario: s, requests: map[int]string{}, calls: map[string]cause{}, spans: map[string]trace.Span{}}
	stop, err := w.start(ctx)
	defer stop()
	if err != nil {
		return row{}, err
	}
	ticking := w.tick(ctx)
	err = w.load(ctx, inFlight, requests, seed)
	cancel()
	<-ticking
	if err := errors.Join(err, w.finish()); err != nil {
		return row{}, err
	}
	r := row{Scenario: s.name, InFlight: inFlight, Requests: requests}
	return r, w.judge(&r)
}

// finish waits until the application has nothing left to do, for those who gave
// up included.
func (w *world) finish() error {
	w.asking.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.server.Shutdown(ctx); err != nil {
		return fmt.Errorf("waiting for the application: %w", err)
	}
	w.working.Wait()
	return nil
}

// start runs the callee, the application and the proxy.
func (w *world) start(ctx context.Context) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			defer f() // the last that began ends first
		}
	}
	serve := func(handler http.HandlerFunc) (*http.Server, netip.AddrPort, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, netip.AddrPort{}, err
		}
		server := &http.Server{Handler: handler, ReadHeaderTimeout: patience, Protocols: new(http.Protocols)}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		stops = append(stops, func() { server.Close() })
		go func() { _ = server.Serve(l) }() // ends with Close
		return server, l.Addr().(*net.TCPAddr).AddrPort(), nil
	}
	_, callee, err := serve(w.callee)
	if err != nil {
		return stop, err
	}
	server, app, err := serve(w.application)
	if err != nil {
		return stop, err
	}
	w.server = server
	end, err := w.proxy(ctx, app, callee)
	if err != nil {
		return stop, err
	}
	stops = append(stops, end)
	w.asking, w.calling = w.client(w.inbound), w.client(w.outbound)
	if w.http2 {
		protocols := &w.asking.Transport.(*http.Transport).Protocols
		*protocols = new(http.Protocols)
		(*protocols).SetUnencryptedHTTP2(true)
	}
	stops = append(stops, w.asking.CloseIdleConnections, w.calling.CloseIdleConnections)
	return stop, nil
}

// proxy runs netra's proxy, with netra's own settings but for the destinations.
func (w *world) proxy(ctx context.Context, app, callee netip.AddrPort) (stop func(), err error) {
	inbound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	outbound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		inbound.Close()
		return nil, err
	}
	w.inbound, w.outbound = inbound.Addr(), outbound.Addr()
	set := metrics.New("bench")
	tracer := trace.New(trace.Settings{
		RequestIDHeader: "X-Request-Id", SourceHeader: "X-Source", Propagation: []trace.Format{trace.W3C, trace.Jaeger},
		Expiration: w.keep, CleanupInterval: time.Second,
	}, w, set)
	port := outbound.Addr().(*net.TCPAddr).Port
	p, err := proxy.New(proxy.Settings{
		Destination: func(fd int) (netip.AddrPort, error) {
			local, err := unix.Getsockname(fd)
			if to, ok := local.(*unix.SockaddrInet4); ok && to.Port == port {
				return callee, err
			}
			return app, err
		},
		DialTimeout: patience,
		Logger:      slog.New(slog.DiscardHandler),
	}, tracer, set)
	if err != nil {
		return nil, errors.Join(err, inbound.Close(), outbound.Close())
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.Run(serving, inbound, outbound, 0)
	}()
	return func() { cancel(); <-ended }, nil
}

// client returns a client all of whose connections go to one address.
func (w *world) client(to net.Addr) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives:   w.fresh,
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
		},
	}}
}

var traceparent = regexp.MustCompile(`^00-[0-9a-f]{32}-([0-9a-f]{16})-01$`)

// span returns the identifier of the span that a request came with.
func span(r *http.Request) string {
	if m := traceparent.FindStringSubmatch(r.Header.Get("traceparent")); m != nil {
		return m[1]
	}
	return ""
}

func (w *world) callee(_ http.ResponseWriter, r *http.Request) {
	number, _ := strconv.Atoi(r.Header.Get(truthHeader)) // a timer's call has none
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[span(r)] = cause{number, r.Header.Get(causeHeader)}
}

func (w *world) application(answer http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.Header.Get(truthHeader))
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	w.requests[number] = span(r)
	w.mu.Unlock()
	choice := rand.New(rand.NewPCG(uint64(number), 1))
	for range 1 + choice.IntN(3) {
		w.rest(choice, w.pause)
		if w.slow > 0 && number%w.slow == w.slow-1 {
			time.Sleep(10 * w.pause)
		}
		if err := w.call(number, causeRequest); err != nil {
			http.Error(answer, err.Error(), http.StatusBadGateway)
			return
		}
	}
	if w.after && number%2 == 0 {
		w.working.Add(1)
		go func() {
			defer w.working.Done()
			<-r.Context().Done() // the answer is written
			w.rest(choice, w.pause)
			_ = w.call(number, causeAfter) // a call that fails is not counted
		}()
	}
	w.rest(choice, w.pause)
	_, _ = io.WriteString(answer, "done") // whoever gave up does not read it
}

// call makes a call as an application does that knows nothing of tracing.
func (w *world) call(number int, kind string) error {
	request, err := http.NewRequest(http.MethodGet, "http://callee/items/"+strconv.Itoa(number), nil)
	if err != nil {
		return err
	}
	request.Header.Set(truthHeader, strconv.Itoa(number))
	request.Header.Set(causeHeader, kind)
	response, err := w.calling.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// rest waits up to d.
func (w *world) rest(choice *rand.Rand, d time.Duration) {
	if d > 0 {
		time.Sleep(time.Duration(choice.Int64N(int64(d))))
	}
}

// tick makes the application's own calls until ctx ends.
func (w *world) tick(ctx context.Context) (ended chan struct{}) {
	ended = make(chan struct{})
	if w.timer == 0 {
		close(ended)
		return ended
	}
	go func() {
		defer close(ended)
		for tick := time.NewTicker(w.timer); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				_ = w.call(-1, causeTimer) // a call that fails is not counted
			}
		}
	}()
	return ended
}
