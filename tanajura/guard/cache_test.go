package guard

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// source answers questions, and counts them.
type source struct {
	mu     sync.Mutex
	answer answer[string]
	err    error
	takes  time.Duration
	asked  atomic.Int32
}

func (s *source) ask(context.Context) (answer[string], error) {
	s.asked.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	time.Sleep(s.takes)
	return s.answer, s.err
}

// change changes what it answers from now on.
func (s *source) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// kept is a cache whose answers are kept fresh until the test ends.
func kept(t *testing.T) *cache[string, string] {
	c := newCache[string, string](4)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(freshen):
				c.freshen()
			}
		}
	}()
	return c
}

// lookUp gets an answer, and reports how long that took.
func lookUp(t *testing.T, c *cache[string, string], s *source) (string, time.Duration, error) {
	t.Helper()
	start := time.Now()
	got, err := c.get(t.Context(), "key", s.ask)
	return got.value, time.Since(start), err
}

// Who saves every few minutes never waits, and an answer is never older than a
// minute.
func TestInUseIsKeptFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := kept(t), &source{answer: answer[string]{value: "old", good: true}, takes: 10 * time.Millisecond}
		if _, took, err := lookUp(t, c, s); err != nil || took != s.takes {
			t.Fatalf("the first took %s, %v", took, err)
		}
		for i := range 6 {
			time.Sleep(7*time.Minute + time.Second)
			s.change(func() { s.answer.value = strconv.Itoa(i) })
			time.Sleep(keepGood)
			if got, took, err := lookUp(t, c, s); err != nil || took != 0 || got != strconv.Itoa(i) {
				t.Errorf("save %d has %q after %s, %v", i, got, took, err)
			}
		}
		before := s.asked.Load()
		time.Sleep(inUse + keepGood)
		idle := s.asked.Load()
		time.Sleep(time.Hour)
		if after := s.asked.Load(); idle == before || after != idle {
			t.Errorf("questions: %d in use, then %d, and %d when not in use", before, idle, after)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.entries) != 0 {
			t.Error("what is not in use is still kept")
		}
	})
}

// Without anything in the background, too, no answer is older than it may be.
func TestExpiry(t *testing.T) {
	for name, c := range map[string]struct {
		good  bool
		ends  time.Duration // from now; 0: never
		holds time.Duration
	}{
		"yes":           {true, 0, keepGood},
		"no":            {false, 0, keepBad},
		"ends before":   {true, 20 * time.Second, 20 * time.Second},
		"ended already": {true, -time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{answer: answer[string]{good: c.good}}
				if c.ends != 0 {
					s.answer.until = time.Now().Add(c.ends)
				}
				cache := newCache[string, string](4)
				lookUp(t, cache, s)
				if c.holds > 0 {
					time.Sleep(c.holds - time.Nanosecond)
					lookUp(t, cache, s)
					if asked := s.asked.Load(); asked != 1 {
						t.Errorf("asked %d times before its end", asked)
					}
					time.Sleep(time.Nanosecond)
				}
				lookUp(t, cache, s)
				if asked := s.asked.Load(); asked != 2 {
					t.Errorf("asked %d times, want once more after its end", asked)
				}
			})
		})
	}
}

// Where nobody answers, the last answer holds five minutes and costs no waiting.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := kept(t), &source{answer: answer[string]{value: "x", good: true}}
		lookUp(t, c, s)
		s.change(func() { s.err, s.takes = errors.New("away"), patience })
		start := time.Now()
		for time.Since(start) < keepSilent-time.Second {
			if got, took, err := lookUp(t, c, s); err != nil || took != 0 || got != "x" {
				t.Fatalf("after %s: %q in %s, %v", time.Since(start), got, took, err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		if _, _, err := lookUp(t, c, s); err == nil || err.Error() != "away" {
			t.Errorf("after %s: %v, want the reason", time.Since(start), err)
		}
		if asked := s.asked.Load(); asked > 40 {
			t.Errorf("asked %d times in %s", asked, time.Since(start))
		}
		s.change(func() { s.answer, s.err, s.takes = answer[string]{value: "no"}, nil, 0 })
		time.Sleep(patience)
		if got, _, err := lookUp(t, c, s); err != nil || got != "no" {
			t.Errorf("when it answers again: %q, %v", got, err)
		}
	})
}

// A right that is taken away is gone within a minute, in use or not.
func TestTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := kept(t), &source{answer: answer[string]{value: "yes", good: true}}
		lookUp(t, c, s)
		time.Sleep(3 * time.Minute)
		s.change(func() { s.answer = answer[string]{value: "no"} })
		time.Sleep(keepGood)
		if got, _, err := lookUp(t, c, s); err != nil || got != "no" {
			t.Errorf("after a minute: %q, %v", got, err)
		}
	})
}

// A flood of what is refused does not drive out what is good, and does not fill
// the memory.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, good := newCache[string, string](4), &source{answer: answer[string]{value: "x", good: true}}
		lookUp(t, c, good)
		for i := range 100 {
			if _, err := c.get(t.Context(), strconv.Itoa(i), (&source{}).ask); err != nil {
				t.Fatal(err)
			}
		}
		if len(c.entries) > c.max {
			t.Errorf("%d are kept, of at most %d", len(c.entries), c.max)
		}
		lookUp(t, c, good)
		if asked := good.asked.Load(); asked != 1 {
			t.Errorf("the good one was asked about %d times", asked)
		}
	})
}

// Only so many questions are under way at once, and nobody waits for ever.
func TestFewQuestionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[string, string](1000)
		release := make(chan struct{})
		var begun atomic.Int32
		slow := func(context.Context) (answer[string], error) {
			begun.Add(1)
			<-release
			return answer[string]{good: true}, nil
		}
		failed := make(chan error, 50)
		for i := range cap(failed) {
			go func() {
				_, err := c.get(t.Context(), strconv.Itoa(i), slow)
				failed <- err
			}()
		}
		for range cap(failed) {
			if err := <-failed; err == nil {
				t.Error("there is an answer")
			}
		}
		if got := begun.Load(); got != maxAsked {
			t.Errorf("%d questions at once, want %d", got, maxAsked)
		}
		close(release)
		synctest.Wait()
	})
}
