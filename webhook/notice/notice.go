// Package notice writes events on the owners of pods, which say what was
// injected into them and what was not: pods that are being admitted do not exist
// yet, and of those that a controller creates nobody reads the warnings.
//
//	recorder, err := notice.Start(ctx, client)
//	recorder.Record(notice.Notice{Regarding: replicaSet, Type: corev1.EventTypeWarning, Reason: notice.Skipped, Note: why})
//
// Record never waits. A notice like one of the last minute is not written, so a
// thousand pods of one owner make one event; those that repeat after that become
// a series of it. What is more than a few a second is dropped, and counted.
package notice

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
)

// The reasons of a Notice.
const (
	Injected = "Injected"
	Skipped  = "InjectionSkipped"
)

// Notice is what an event says. Type is corev1.EventTypeNormal or
// EventTypeWarning.
type Notice struct {
	Regarding          corev1.ObjectReference
	Type, Reason, Note string
}

const (
	// controller is what events say they come from.
	controller = "formicarium.io/webhook"
	// action is what was being done; events.k8s.io/v1 wants one.
	action = "Injecting"
	// maxNote is the API server's own limit, in bytes.
	maxNote = 1024
	// quiet is how long a notice is not repeated. It is below the six minutes
	// for which the recorder takes a repetition for one of a series.
	quiet = time.Minute
	// rate and burst bound what is written: a rollout of a whole cluster is told
	// of in part, and the API server does not notice.
	rate, burst = 2, 50
	// maxSeen bounds what is remembered of the last minute.
	maxSeen = 4096
)

// Recorder writes notices.
type Recorder struct {
	recorder events.EventRecorder
	limit    flowcontrol.RateLimiter
	count    *prometheus.CounterVec
	now      func() time.Time

	mu   sync.Mutex
	seen map[seenKey]time.Time
}

type seenKey struct {
	owner              types.UID
	kind, reason, note string
}

// Start returns a Recorder that writes until ctx ends. The client should be one
// of its own, so that events take no other request's turn.
func Start(ctx context.Context, client kubernetes.Interface) (*Recorder, error) {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return nil, fmt.Errorf("starting to write events: %w", err)
	}
	return &Recorder{
		recorder: broadcaster.NewRecorder(scheme.Scheme, controller),
		limit:    flowcontrol.NewTokenBucketRateLimiter(rate, burst),
		now:      time.Now,
		seen:     map[seenKey]time.Time{},
		count: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fmc_webhook_events_total",
			Help: "What became of events on pods' owners: written, repeated (within a minute, and so not written), or dropped because there were too many.",
		}, []string{"result"}),
	}, nil
}

// Collector counts what became of notices.
func (r *Recorder) Collector() prometheus.Collector { return r.count }

// Record writes a notice some time later, or not at all.
func (r *Recorder) Record(n Notice) {
	if len(n.Note) > maxNote {
		n.Note = strings.ToValidUTF8(n.Note[:maxNote-len("…")], "") + "…"
	}
	result := r.take(n)
	r.count.WithLabelValues(result).Inc()
	if result == "written" {
		// It starts a goroutine and returns.
		r.recorder.Eventf(&n.Regarding, nil, n.Type, n.Reason, action, "%s", n.Note)
	}
}

// take decides what becomes of a notice.
func (r *Recorder) take(n Notice) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	key := seenKey{n.Regarding.UID, n.Type, n.Reason, n.Note}
	if last, ok := r.seen[key]; ok && now.Sub(last) < quiet {
		return "repeated"
	}
	if !r.limit.TryAccept() {
		return "dropped"
	}
	if len(r.seen) >= maxSeen {
		for old, at := range r.seen {
			if now.Sub(at) >= quiet {
				delete(r.seen, old)
			}
		}
		if len(r.seen) >= maxSeen {
			clear(r.seen)
		}
	}
	r.seen[key] = now
	return "written"
}
