package smarthttp

import (
	"context"
	"fmt"
	"net/http"
	"sync"
)

// Bounds on requests. A repository has one developer and its pods, a hub a
// devspace's: some 200 at most, which may all ask at once when a hub comes back.
const (
	// maxRequests bounds the requests for one repository that are under way,
	// with those that wait; further ones are refused with 503.
	maxRequests = 300
	// maxAllRequests bounds those for all repositories. Each that waits holds
	// some 30 kB.
	maxAllRequests = 3000
	// maxProcesses bounds the git processes that run at once; further requests
	// wait. Each needs some 10 MB.
	maxProcesses = 48
	// maxOwnProcesses bounds those for one repository, so that the clients of
	// one, be they slow or many, do not make another's wait.
	maxOwnProcesses = 12
)

// gate bounds requests: how many are under way, and how many of these run git.
type gate struct {
	processes chan struct{}

	mu    sync.Mutex
	total int
	lanes map[string]*lane // of repositories with requests; guarded by mu
}

// lane is one repository's part of a gate.
type lane struct {
	requests  int // guarded by the gate's mu
	processes chan struct{}
}

func newGate() *gate {
	return &gate{processes: make(chan struct{}, maxProcesses), lanes: map[string]*lane{}}
}

// enter lets a request for a repository in, which has to leave, or refuses it.
func (g *gate) enter(name string) (*lane, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lanes[name]
	switch {
	case g.total >= maxAllRequests:
		return nil, busy(fmt.Sprintf("the hub has %d git requests under way, the most it takes", g.total))
	case l != nil && l.requests >= maxRequests:
		return nil, busy(fmt.Sprintf("repository %q has %d git requests under way, the most it may have", name, l.requests))
	case l == nil:
		l = &lane{processes: make(chan struct{}, maxOwnProcesses)}
		g.lanes[name] = l
	}
	l.requests++
	g.total++
	return l, nil
}

func (g *gate) leave(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lanes[name]
	l.requests--
	g.total--
	if l.requests == 0 {
		delete(g.lanes, name)
	}
}

// acquire waits until the request may run git. Again, it does nothing.
func (x *exchange) acquire(ctx context.Context) error {
	if x.done != nil {
		return nil
	}
	// The lane's first: who waits for a place of its own must not hold another's.
	for _, places := range []chan struct{}{x.lane.processes, x.gate.processes} {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			if places == x.gate.processes {
				<-x.lane.processes
			}
			return errSent // there is nobody to be told
		}
	}
	x.done = func() { <-x.gate.processes; <-x.lane.processes }
	return nil
}

// release gives the place back, which another request may be waiting for:
// telling Stingers, which may build, takes none.
func (x *exchange) release() {
	if x.done != nil {
		x.done()
		x.done = nil
	}
}

func busy(what string) error {
	return &statusError{http.StatusServiceUnavailable, what + ": try again"}
}
