package guard

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// keepGood and keepBad are how long an answer holds: for as long, at most,
	// somebody goes on who has lost a right, or waits who was given one.
	keepGood = time.Minute
	keepBad  = 10 * time.Second
	// keepSilent is how long a good answer holds where no newer is to be had.
	keepSilent = 5 * time.Minute
	// renewGood is the age at which a good answer in use is asked for anew,
	// early enough for a question that is answered late.
	renewGood = 40 * time.Second
	// inUse is for how long after its last use an answer is kept fresh: longer
	// than somebody thinks between two saves.
	inUse = 15 * time.Minute
	// freshen is how often that is looked after, and the least time between two
	// questions that were not answered.
	freshen = 5 * time.Second
	// patience is how long an answer is waited for.
	patience = 5 * time.Second
	// maxAsked bounds the questions asked at once for those who wait, and as
	// many again for what is kept fresh.
	maxAsked = 8
	// maxWaiting bounds those that wait to be asked, with them: who wants an
	// answer may go away, and the question stays.
	maxWaiting = 2 * maxStrangers
)

// answer is what the API server said.
type answer[V any] struct {
	value V
	good  bool
	until time.Time // a good one never holds longer; zero: no such end
}

type question[V any] func(context.Context) (answer[V], error)

// cache keeps answers, and asks each question once however many want its answer.
type cache[K comparable, V any] struct {
	max           int
	asked, warmed slots

	mu      sync.Mutex
	entries map[K]*entry[V]
	waiting int // questions under way for those who wait
}

// entry is one question and its newest answer.
type entry[V any] struct {
	ask    question[V]
	answer answer[V]
	at     time.Time // of the answer; zero: there is none yet
	used   time.Time
	failed error // the newest question's; nil where it was answered
	tried  time.Time
	flight chan struct{} // closed when the question under way has ended; nil: none is
}

func newCache[K comparable, V any](most int) *cache[K, V] {
	return &cache[K, V]{max: most, asked: make(slots, maxAsked), warmed: make(slots, maxAsked), entries: map[K]*entry[V]{}}
}

// holds reports whether the answer may still be used.
func (e *entry[V]) holds(now time.Time) bool {
	age := now.Sub(e.at)
	switch {
	case e.at.IsZero():
		return false
	case !e.answer.good:
		return age < keepBad
	case !e.answer.until.IsZero() && !now.Before(e.answer.until):
		return false
	case e.failed != nil:
		return age < keepSilent
	}
	return age < keepGood
}

// have returns an answer that is there already.
func (c *cache[K, V]) have(key K) (answer[V], bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	e := c.entries[key]
	if e == nil || !e.holds(now) {
		return answer[V]{}, false
	}
	e.used = now
	return e.answer, true
}

// get returns an answer, and asks where there is none.
func (c *cache[K, V]) get(ctx context.Context, key K, ask question[V]) (answer[V], error) {
	c.mu.Lock()
	now := time.Now()
	e := c.entries[key]
	if e != nil && e.holds(now) {
		defer c.mu.Unlock()
		e.used = now
		return e.answer, nil
	}
	if (e == nil || e.flight == nil) && c.waiting >= maxWaiting {
		c.mu.Unlock()
		return answer[V]{}, fmt.Errorf("%d questions wait for an answer", maxWaiting)
	}
	if e == nil {
		c.makeRoom()
		e = &entry[V]{ask: ask}
		c.entries[key] = e
	}
	e.used = now
	if e.flight == nil {
		c.waiting++
		c.start(e, c.asked, func() { c.waiting-- })
	}
	flight := e.flight
	c.mu.Unlock()
	tooLate := time.NewTimer(2 * patience) // with the questions before this one
	defer tooLate.Stop()
	select {
	case <-flight:
	case <-tooLate.C:
		return answer[V]{}, fmt.Errorf("no answer after %s", 2*patience)
	case <-ctx.Done():
		return answer[V]{}, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.failed != nil && !e.holds(time.Now()) {
		return answer[V]{}, e.failed
	}
	return e.answer, nil
}

// start asks an entry's question. The question outlives who asks: others may wait
// for its answer. At its end ended is called, with mu held.
func (c *cache[K, V]) start(e *entry[V], turn slots, ended func()) {
	flight := make(chan struct{})
	e.flight = flight
	go func() {
		turn <- struct{}{}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		got, err := e.ask(ctx)
		cancel()
		turn.give()
		c.mu.Lock()
		defer c.mu.Unlock()
		ended()
		e.failed, e.tried, e.flight = err, time.Now(), nil
		if err == nil {
			e.answer, e.at = got, e.tried
		}
		close(flight)
	}()
}

// freshen asks anew for what is in use, and drops what is of no use any more.
func (c *cache[K, V]) freshen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for key, e := range c.entries {
		switch {
		case e.flight != nil:
		case e.at.IsZero(), !e.answer.good && !e.holds(now), now.Sub(e.used) > inUse,
			!e.answer.until.IsZero() && !now.Before(e.answer.until), now.Sub(e.at) >= keepSilent:
			delete(c.entries, key)
		case e.answer.good && now.Sub(e.at) >= renewGood && (e.failed == nil || now.Sub(e.tried) >= freshen):
			c.start(e, c.warmed, func() {})
		}
	}
}

// makeRoom drops an entry where there are too many: the oldest of those that say
// no, else the one whose last use is longest ago. One that is asked about stays; of
// these there are few, see maxWaiting.
func (c *cache[K, V]) makeRoom() {
	if len(c.entries) < c.max {
		return
	}
	var least K
	var found *entry[V]
	for key, e := range c.entries {
		if e.flight != nil {
			continue
		}
		if found == nil || e.worth().Before(found.worth()) {
			least, found = key, e
		}
	}
	if found != nil {
		delete(c.entries, least)
	}
}

// worth orders entries: the later, the sooner it may be wanted again.
func (e *entry[V]) worth() time.Time {
	if !e.answer.good {
		return e.used.Add(-2 * inUse)
	}
	return e.used
}
