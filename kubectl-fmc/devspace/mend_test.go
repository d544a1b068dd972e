package devspace

import (
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/testutil"
)

// A pod that the hub did not reach is asked by the plugin; what its Stinger
// then has is the directory's tree.
func TestMendsAPodThatWasNotTold(t *testing.T) {
	s := newService(t)
	s.program()
	out := s.watched()
	eventually(t, "the first push", func() bool { return strings.Contains(out.String(), " → ") })
	eventually(t, "the first code", func() bool { return s.agent.Status().Commit == s.hub.Head("orders") })
	// Nobody listens where the hub asks, as when a network policy or a node is
	// in the way.
	s.hub.SetStingers("orders", "http://127.0.0.1:1")
	s.write("b", "b")
	eventually(t, "the news that it was not reached", func() bool { return strings.Contains(out.String(), "not reached") })
	eventually(t, "the mending", func() bool { return strings.Contains(out.String(), "in sync again at ") })
	if status := s.agent.Status(); status.Commit != s.hub.Head("orders") {
		t.Errorf("the pod has %s, the hub %s", status.Commit, s.hub.Head("orders"))
	}
	if !strings.Contains(out.String(), "it pulled again") {
		t.Errorf("printed\n%s", out.String())
	}
}

// A push whose answer was lost has told nobody who can be named; the next one
// finds the hub up to date and the pod behind.
func TestMendsAfterAnUpToDatePush(t *testing.T) {
	s := newService(t)
	s.program()
	if _, err := s.d.Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first code", func() bool { return s.agent.Status().Commit == s.hub.Head("orders") })
	s.hub.SetStingers("orders") // the hub tells nobody
	s.write("b", "b")
	if _, err := s.d.Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.agent.Status().Commit == s.hub.Head("orders") {
		t.Fatal("the pod was told all the same")
	}
	s.d.Close()
	s.open() // a new run, which has to ask
	out := s.watched()
	eventually(t, "the pod's commit", func() bool { return s.agent.Status().Commit == s.hub.Head("orders") })
	eventually(t, "the word of it", func() bool { return strings.Contains(out.String(), ": in sync at ") })
}

// watched syncs the directory until the test ends, and returns what is printed.
func (s *service) watched() *testutil.Buffer {
	var out testutil.Buffer
	ended := make(chan error, 1)
	go func(d *Directory) { ended <- d.Watch(s.Context(), false, &out) }(s.d)
	s.Cleanup(func() {
		if err := <-ended; err != nil {
			s.Errorf("Watch = %v", err)
		}
	})
	return &out
}
