package devspace

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

// limit is a context whose time is over when over is closed: a time limit that
// no slow machine reaches too early.
type limit struct {
	context.Context
	over chan struct{}
}

func (l limit) Done() <-chan struct{} { return l.over }

func (l limit) Err() error {
	select {
	case <-l.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// waitFor waits for the service until it has been looked at a few times, and
// returns what was printed and the error.
func waitFor(t *testing.T, client *Client) (string, error) {
	t.Helper()
	ctx := limit{t.Context(), make(chan struct{})}
	looks := 0
	client.Kube.(*fake.Clientset).PrependReactor("get", "deployments", func(k8stesting.Action) (bool, runtime.Object, error) {
		if looks++; looks == 4 {
			close(ctx.over) // in mid-look
		}
		return false, nil, nil
	})
	var out bytes.Buffer
	r := &rollout{client: client, namespace: "mine", name: "orders", out: &out, inspect: client.inspectService}
	err := r.wait(ctx)
	return out.String(), err
}

func TestRolloutEnds(t *testing.T) {
	client := fakeClient(t, nil, deployment("orders", 1)...)
	if out, err := waitFor(t, client); err != nil || out != "" {
		t.Errorf("wait = %v, printed %q", err, out)
	}
}

func TestRolloutTellsWhatItWaitsFor(t *testing.T) {
	waiting := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	for name, test := range map[string]struct {
		change  func(*corev1.Pod)
		status  api.StingerStatus
		printed string
		failed  string
	}{
		"image": {
			change:  func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State = waiting("ImagePullBackOff", "no such tag") },
			printed: "cannot be pulled", failed: "no such tag",
		},
		"configuration": {
			change: func(p *corev1.Pod) {
				p.Status.ContainerStatuses[0].State = waiting("CreateContainerConfigError", `secret "orders" not found`)
			},
			printed: `secret "orders" not found`, failed: `secret "orders" not found`,
		},
		"no node": {
			change: func(p *corev1.Pod) {
				p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes: too many pods"})
			},
			printed: "no node takes the pod: 0/1 nodes", failed: "too many pods",
		},
		"no webhook": {
			change:  func(p *corev1.Pod) { delete(p.Annotations, api.AnnotationStatus) },
			printed: "kubectl fmc install --registry", failed: "the webhook did not see the pod",
		},
		"process ends": {
			status:  api.StingerStatus{State: api.StateBackoff, LastExit: "exit 3"},
			printed: "ends by itself (exit 3)", failed: "fake logs",
		},
		"no code": {
			status:  api.StingerStatus{State: api.StateWaiting, LastError: "the hub does not answer"},
			printed: "waits for its code: the hub does not answer", failed: "the hub does not answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := servicePod("orders", "orders-1", corev1.ConditionFalse)
			if test.change != nil {
				test.change(pod)
			}
			client := fakeClient(t, pods{"orders-1/24000": answer(test.status)}, append(deployment("orders", 0), pod, hubPod())...)
			out, err := waitFor(t, client)
			if !strings.Contains(out, test.printed) || strings.Count(out, test.printed) != 1 {
				t.Errorf("printed %q, want one line with %q", out, test.printed)
			}
			if err == nil || !strings.Contains(err.Error(), test.failed) {
				t.Errorf("error = %v, want one with %q", err, test.failed)
			}
		})
	}
}

func TestRolloutTellsThatPodsAreRefused(t *testing.T) {
	objects := deployment("orders", 0)
	d := objects[0].(*appsv1.Deployment)
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota: devspace"}}
	out, err := waitFor(t, fakeClient(t, nil, objects...))
	if !strings.Contains(out, "exceeded quota") || err == nil || !strings.Contains(err.Error(), "exceeded quota") {
		t.Errorf("printed %q, error %v", out, err)
	}
}

func TestProblemsThatStayAreFinal(t *testing.T) {
	r := &rollout{name: "orders", out: &bytes.Buffer{}, seen: map[string]sighting{}}
	p := []problem{{text: "image", patience: shortPatience}}
	if r.report(p) != nil {
		t.Error("a new problem is final")
	}
	r.seen["image"] = sighting{first: time.Now().Add(-2 * shortPatience), last: time.Now()}
	if r.report(p) == nil {
		t.Error("a problem that stayed is not final")
	}
	r.seen["image"] = sighting{first: time.Now().Add(-time.Hour), last: time.Now().Add(-2 * absence)}
	if r.report(p) != nil {
		t.Error("a problem that came back is final at once")
	}
}
