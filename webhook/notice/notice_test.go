package notice

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func skipped(name, note string) Notice {
	return Notice{
		Regarding: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Namespace: "shop", Name: name, UID: types.UID(name)},
		Type:      corev1.EventTypeWarning, Reason: Skipped, Note: note,
	}
}

func start(t *testing.T, client *fake.Clientset) *Recorder {
	t.Helper()
	r, err := Start(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// first waits for an event.
func first(t *testing.T, client *fake.Clientset) eventsv1.Event {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		list, err := client.EventsV1().Events("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) > 0 {
			return list.Items[0]
		}
		if time.Now().After(deadline) {
			t.Fatal("no event after 20 s")
		}
	}
}

func counts(t *testing.T, r *Recorder) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.Collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			found[metric.GetLabel()[0].GetValue()] = metric.GetCounter().GetValue()
		}
	}
	return found
}

func TestThousandPodsOfOneOwnerMakeOneEvent(t *testing.T) {
	client := fake.NewClientset()
	r := start(t, client)
	now := time.Now()
	r.now = func() time.Time { return now }
	n := skipped("web-1", "netra was not injected: for a reason")
	for range 1000 {
		r.Record(n)
	}
	if c := counts(t, r); c["written"] != 1 || c["repeated"] != 999 {
		t.Errorf("counts = %v", c)
	}
	e := first(t, client)
	if e.Type != "Warning" || e.Reason != Skipped || e.Note != n.Note || e.ReportingController != controller || e.Action == "" || e.Regarding != n.Regarding {
		t.Errorf("event = %+v", e)
	}
	// A minute later it is one of a series, which is a patch.
	now = now.Add(quiet)
	r.Record(n)
	for deadline := time.Now().Add(20 * time.Second); first(t, client).Series == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the repeated event is no series after 20 s")
		}
	}
}

// An API server that does not answer holds nobody up.
func TestWhatIsTooMuchIsDroppedAndCounted(t *testing.T) {
	client := fake.NewClientset()
	hang := make(chan struct{})
	defer close(hang)
	client.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		<-hang
		return true, nil, nil
	})
	r := start(t, client)
	for i := range 5000 {
		r.Record(skipped(fmt.Sprint("web-", i), "why"))
	}
	// 50 at once, and two for each second that the loop takes.
	if c := counts(t, r); c["written"] < burst || c["dropped"] < 4000 || c["written"]+c["dropped"] != 5000 {
		t.Errorf("counts = %v", c)
	}
}

func TestNoticeIsRepeatedAfterAMinute(t *testing.T) {
	r := start(t, fake.NewClientset())
	now := time.Now()
	r.now = func() time.Time { return now }
	n := skipped("web-1", "why")
	for i, want := range []string{"written", "repeated", "written"} {
		if got := r.take(n); got != want {
			t.Errorf("time %d: %s, want %s", i, got, want)
		}
		if i == 1 {
			now = now.Add(quiet)
		}
	}
	if got := r.take(skipped("web-1", "another reason")); got != "written" {
		t.Errorf("another note: %s", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	r := start(t, fake.NewClientset())
	for age, want := range map[time.Duration]int{0: 1, quiet: 1, quiet / 2: 1} {
		clear(r.seen)
		for i := range maxSeen {
			r.seen[seenKey{owner: types.UID(fmt.Sprint(i))}] = time.Now().Add(-age)
		}
		if r.take(skipped("web-1", "why")); len(r.seen) != want {
			t.Errorf("of notices %s old %d are remembered", age, len(r.seen))
		}
	}
}

func TestLongNotesAreCut(t *testing.T) {
	client := fake.NewClientset()
	start(t, client).Record(skipped("web", strings.Repeat("ö", 1000)))
	if note := first(t, client).Note; len(note) > maxNote || !utf8.ValidString(note) || !strings.HasSuffix(note, "ö…") {
		t.Errorf("the note has %d bytes and ends in %q", len(note), note[len(note)-8:])
	}
}
