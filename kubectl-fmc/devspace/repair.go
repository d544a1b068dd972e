package devspace

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RepairConfig says how to recreate pods.
type RepairConfig struct {
	// Every is the least time between two evictions.
	Every time.Duration
	// Patience is how long the pod in an evicted one's place may take to be
	// ready before the next of the same owner is evicted.
	Patience time.Duration
	DryRun   bool
}

// Repair has the pods that asked and have nothing created anew, by evicting
// them: a PodDisruptionBudget is honoured, and of one owner the next pod is
// evicted only when the last one's place is taken. Pods that nothing would
// create anew, and those of Jobs, are only told of.
func (c *Client) Repair(ctx context.Context, missing []MissingPod, cfg RepairConfig, out io.Writer) []Finding {
	var findings []Finding
	note := func(f Finding) {
		findings = append(findings, f)
		fmt.Fprintf(out, "%s\n", f.Text)
	}
	stuck := map[types.UID]bool{}
	evicted := map[types.UID]int{} // ready pods before the eviction
	first := true
	for _, m := range missing {
		why := m.kept()
		switch {
		case why != "":
			note(bad("repair", "", "%s is left: %s", m, why))
			continue
		case stuck[m.owner]:
			note(bad("repair", "see why kubectl -n "+m.Namespace+" get pods, then run it again", "%s is left: what came in place of the last pod of %s is not ready", m, m.Owner))
			continue
		case cfg.DryRun:
			note(good("repair", "%s would be evicted, for %s to create it anew", m, m.Owner))
			continue
		}
		if ready, again := evicted[m.owner]; again && !c.replaced(ctx, m, ready, cfg.Patience) {
			stuck[m.owner] = true
			note(bad("repair", "see why kubectl -n "+m.Namespace+" get pods, then run it again", "%s is left: what came in place of the last pod of %s is not ready after %s", m, m.Owner, cfg.Patience))
			continue
		}
		if !first && !pause(ctx, cfg.Every) {
			note(bad("repair", "run it again", "stopped before %s", m))
			return findings
		}
		first = false
		ready, err := c.readyOf(ctx, m)
		if err == nil {
			err = c.evict(ctx, m)
		}
		if err == nil {
			evicted[m.owner] = ready
		}
		note(evictionFinding(m, err))
	}
	return findings
}

// evictionFinding says what became of an eviction.
func evictionFinding(m MissingPod, err error) Finding {
	const check = "repair"
	switch {
	case err == nil:
		return good(check, "%s is evicted, and %s creates it anew", m, m.Owner)
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return good(check, "%s is gone already", m)
	case apierrors.IsTooManyRequests(err):
		return bad(check, "run it again later", "%s is left: a PodDisruptionBudget does not allow its eviction now", m)
	case apierrors.IsForbidden(err):
		return bad(check, "ask somebody who may create pods/eviction in namespace "+m.Namespace, "%s is left: you may not evict it", m)
	}
	return bad(check, "run it again", "evicting %s: %v", m, err)
}

func (c *Client) evict(ctx context.Context, m MissingPod) error {
	// The pod that was looked at, and no later one of its name.
	return c.Kube.PolicyV1().Evictions(m.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &m.uid}},
	})
}

// readyOf counts the ready pods of the owner.
func (c *Client) readyOf(ctx context.Context, m MissingPod) (int, error) {
	ready := 0
	s := scope{namespaces: map[string]map[string]string{m.Namespace: nil}}
	_, err := c.eachPod(ctx, s, func(pod *corev1.Pod) {
		if owner := metav1.GetControllerOf(pod); owner != nil && owner.UID == m.owner && podReady(pod) {
			ready++
		}
	})
	return ready, err
}

// replaced waits until the owner has as many ready pods as before.
func (c *Client) replaced(ctx context.Context, m MissingPod, before int, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if ready, err := c.readyOf(ctx, m); err == nil && ready >= before {
			return true
		}
		if !pause(ctx, c.Poll) {
			return false
		}
	}
}

// pause reports whether ctx lasts that long.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
