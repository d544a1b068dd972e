package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// replica is a pod of a service, with netra.
type replica struct {
	pod     netns
	address string
	netra   *process
	app     *http.Server
	pausing atomic.Int64 // requests that the application is at work on
	resume  chan struct{}
}

// newReplica starts a service whose answers to /slow come after it has called
// another one, once it may.
func newReplica(t *testing.T, binary string, pod netns, address, callee string) *replica {
	t.Helper()
	r := &replica{pod: pod, address: address, resume: make(chan struct{})}
	r.netra = startProcess(t, pod, []string{binary}, "NETRA_TEST_MAIN=true", "JAEGER_SERVICE_NAME=orders", "JAEGER_DISABLED=true")
	capture(t, pod)
	calls := clientIn(pod)
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		r.pausing.Add(1)
		<-r.resume
		answer, err := calls.Get("http://" + callee + ":9090/")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		io.Copy(w, answer.Body)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "in stock")
	})
	r.app = &http.Server{Handler: mux}
	go r.app.Serve(pod.listen(":8080"))
	t.Cleanup(func() { r.app.Close() })
	return r
}

// TestRollingRestart replaces a pod by another one while clients, some with
// connections that they keep, send requests all the time. As in a cluster the
// old pod's address goes first, then its processes are told to end: the
// application before netra (a native sidecar), or both at once (an ordinary
// container). Requests that are in the application must be answered, and the
// application must still reach others; none may fail.
func TestRollingRestart(t *testing.T) {
	binary := copyOfSelf(t)
	for name, atOnce := range map[string]bool{"native sidecar": false, "ordinary container": true} {
		t.Run(name, func(t *testing.T) {
			oldPod, peer := podAndPeer(t)
			newPod := otherPod(t, peer)
			go http.Serve(peer.listen(":9090"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "in stock")
			}))
			before := newReplica(t, binary, oldPod, podV4, peerV4)
			after := newReplica(t, binary, newPod, otherV4, otherPeerV4)
			load := startLoad(peer, before.address)
			const slow = 5
			answers := make(chan error, slow)
			for range slow {
				go func() { answers <- ask(clientIn(peer), "http://"+before.address+":8080/slow") }()
			}
			waitFor(t, "the requests to be in the application", func() bool { return before.pausing.Load() == slow && load.sent.Load() > 100 })

			load.endpoint.Store(&after.address)
			load.settle(t) // what was sent to the old address is answered
			ended := before.end(atOnce)
			close(before.resume)
			for range slow {
				if err := <-answers; err != nil {
					t.Errorf("a request in the application: %v", err)
				}
			}
			if err := <-ended; err != nil {
				t.Errorf("netra ended with %v", err)
			}
			sent := load.sent.Load()
			waitFor(t, "requests to the new pod", func() bool { return load.sent.Load() > sent+100 })
			if err := load.stop(); err != nil {
				t.Errorf("of %d requests: %v", load.sent.Load(), err)
			}
			if n := after.netra.metric(t, `netra_requests_total{direction="inbound",peer="",code="2xx"}`); n < 100 {
				t.Errorf("the new pod's netra has seen %d requests", n)
			}
		})
	}
}

// TestDrainsWhileTheApplicationServes has netra told to end where the application
// goes on for a while, as one does that waits for its address to be forgotten.
// Whoever calls it until then must be answered, though no connection is open
// between two calls.
func TestDrainsWhileTheApplicationServes(t *testing.T) {
	pod, peer := podAndPeer(t)
	netra := startProcess(t, pod, []string{copyOfSelf(t)},
		"NETRA_TEST_MAIN=true", "JAEGER_SERVICE_NAME=orders", "JAEGER_DISABLED=true", "NETRA_DRAIN_TIMEOUT=60s")
	capture(t, pod)
	app := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in stock") })}
	go app.Serve(pod.listen(":8080"))
	ended := make(chan error, 1)
	go func() { ended <- netra.stop() }()
	for i := range 20 {
		time.Sleep(50 * time.Millisecond) // for as long as netra would find nothing open
		if err := ask(clientIn(peer), "http://"+podV4+":8080/"); err != nil {
			t.Fatalf("request %d after netra was told to end: %v", i, err)
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("netra ended before the application: %v", err)
	default:
	}
	app.Close()
	if err := <-ended; err != nil {
		t.Errorf("netra ended with %v", err)
	}
}

// end has the replica's processes end as a kubelet does and reports how netra
// did.
func (r *replica) end(atOnce bool) (ended chan error) {
	ended = make(chan error, 1)
	if atOnce {
		go func() { ended <- r.netra.stop() }()
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := r.app.Shutdown(ctx)
		if !atOnce {
			ended <- errors.Join(err, r.netra.stop())
		}
	}()
	return ended
}

// load is clients that send requests to an endpoint until they are stopped.
type load struct {
	endpoint atomic.Pointer[string]
	sent     atomic.Int64
	finish   func()
	clients  sync.WaitGroup
	rounds   []*atomic.Int64 // of each client

	mu     sync.Mutex
	faults []error
}

func startLoad(from netns, endpoint string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{finish: cancel}
	l.endpoint.Store(&endpoint)
	for i := range 8 {
		client := clientIn(from)
		client.Transport.(*http.Transport).DisableKeepAlives = i%2 == 0
		rounds := new(atomic.Int64)
		l.rounds = append(l.rounds, rounds)
		l.clients.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				if err := ask(client, "http://"+*l.endpoint.Load()+":8080/stock"); err != nil {
					l.mu.Lock()
					l.faults = append(l.faults, err)
					l.mu.Unlock()
				}
				l.sent.Add(1)
				rounds.Add(1)
			}
		})
	}
	return l
}

// settle waits until every client has begun a request since now, so that all use
// the present endpoint.
func (l *load) settle(t *testing.T) {
	t.Helper()
	for _, rounds := range l.rounds {
		n := rounds.Load()
		waitFor(t, "every client to go on", func() bool { return rounds.Load() > n+1 })
	}
}

func (l *load) stop() error {
	l.finish()
	l.clients.Wait()
	if len(l.faults) == 0 {
		return nil
	}
	return fmt.Errorf("%d failed: %w", len(l.faults), l.faults[0])
}

// ask sends a request and expects what there is in stock.
func ask(client *http.Client, url string) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && string(body) != "in stock" {
		err = fmt.Errorf("%s: %.60q", answer.Status, body)
	}
	return err
}

// waitFor waits until something has come to be.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s took too long", what)
		}
	}
}
