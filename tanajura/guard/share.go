package guard

import (
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
)

// Pods and developers have places of their own, since a push waits for pods to
// fetch, and nobody has so many that the others of his kind get none.
const (
	// maxPods bounds the requests of pods that are served at once: some 200, a
	// devspace's, may all ask when a hub comes back.
	maxPods = 256
	// maxOnePod is a pod's part: its Stinger has two or three, and eight that hang
	// leave git processes to others (smarthttp allows a repository twelve).
	maxOnePod = 8
	// maxDevelopers bounds those of developers, and of whoever else has a token
	// that is not bound to a pod.
	maxDevelopers = 256
	// maxOneDeveloper is the part of one of them: a deploy pushes all its
	// services side by side.
	maxOneDeveloper = 128
	// maxStrangers bounds the requests whose senders are asked about.
	maxStrangers = 256
	// maxOneAddress is the part of one address, which is that of many developers,
	// or of one with all that a deploy pushes: what comes over port-forward comes
	// from the hub's own pod.
	maxOneAddress = 128
)

// pool bounds how many requests are under way, of all and of each. It remembers
// those only that have some.
type pool struct {
	all, one int
	// whose and each say in a refusal whose requests they are, and what one of
	// these is.
	whose, each string

	mu     sync.Mutex
	total  int            // guarded by mu
	shares map[string]int // guarded by mu
}

func newPool(all, one int, whose, each string) *pool {
	return &pool{all: all, one: one, whose: whose, each: each, shares: map[string]int{}}
}

// take takes a place for who, whom a refusal calls name, or returns why there is
// none. With a place, give has to be called.
func (p *pool) take(who, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.shares[who] >= p.one:
		return busy("%s has %d requests under way, the most that this hub takes from one %s: try again when some have ended", name, p.one, p.each)
	case p.total >= p.all:
		return busy("this hub has %d requests of %s under way, the most that it takes: try again", p.all, p.whose)
	}
	p.total++
	p.shares[who]++
	return nil
}

func (p *pool) give(who string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.shares[who]--; p.shares[who] == 0 {
		delete(p.shares, who)
	}
}

func busy(format string, args ...any) error {
	return &refusal{http.StatusServiceUnavailable, fmt.Sprintf(format, args...), ""}
}

// enter takes a place for a caller's request; leave gives it back.
func (g *Guard) enter(caller Caller) (leave func(), err error) {
	places, name := g.developers, caller.Name
	if caller.Kind == identity.Pod {
		places, name = g.pods, "pod "+name
	}
	who := caller.share()
	if err := places.take(who, name); err != nil {
		return nil, err
	}
	return func() { places.give(who) }, nil
}

// share says who shares a part: a pod, whatever tokens it has; an account. All of a
// devspace's developers have one account and each run of the plugin has a token of
// its own, so there a token stands for its run.
func (c Caller) share() string {
	switch {
	case c.Kind == identity.Pod:
		return c.UID
	case c.Name == accounts+c.Devspace+":"+api.DeveloperAccount:
		return string(c.key[:])
	}
	return c.Name
}

// address is where a request comes from, without the port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
