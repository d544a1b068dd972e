package podwatch

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/tanajura/tell"
)

const namespace = "mine"

func pod(name, service string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: namespace, UID: types.UID("uid-of-" + name),
			Labels:      map[string]string{api.LabelService: service},
			Annotations: map[string]string{api.AnnotationStatus: `{"stingers":[{"container":"app","port":24000}]}`, "other": "dropped"},
		},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func start(t *testing.T, client *fake.Clientset, before ...func(*Watch)) *Watch {
	t.Helper()
	w, err := New(client, namespace, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range before {
		f(w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

// eventually waits for what the watch learns in its own time.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (w *Watch) urls(service string) []string {
	var urls []string
	for _, target := range w.Targets(service) {
		urls = append(urls, target.Pod+"/"+target.Container+"="+target.URL)
	}
	slices.Sort(urls)
	return urls
}

func TestTargets(t *testing.T) {
	now := metav1.Now()
	client := fake.NewClientset(
		pod("orders-1", "orders"),
		pod("orders-2", "orders", func(p *corev1.Pod) {
			p.Status.PodIP = "fd00::2"
			p.Annotations[api.AnnotationStatus] = `{"stingers":[{"container":"app","port":24000},{"container":"worker","port":24001}]}`
		}),
		pod("pending", "orders", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }),
		pod("done", "orders", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		pod("without-ip", "orders", func(p *corev1.Pod) { p.Status.PodIP = "" }),
		pod("ending", "orders", func(p *corev1.Pod) { p.DeletionTimestamp, p.Finalizers = &now, []string{"x/y"} }),
		pod("without-stinger", "orders", func(p *corev1.Pod) { p.Annotations = nil }),
		pod("only-netra", "orders", func(p *corev1.Pod) {
			p.Annotations[api.AnnotationStatus] = `{"service":"orders","injected":["netra"]}`
		}),
		pod("garbled", "orders", func(p *corev1.Pod) { p.Annotations[api.AnnotationStatus] = "{" }),
		pod("other", "payments"),
		pod("elsewhere", "orders", func(p *corev1.Pod) { p.Namespace = "yours" }),
	)
	w := start(t, client)
	eventually(t, "the list arrives", func() bool { return w.Ready() == nil })
	want := []string{"orders-1/app=https://10.0.0.1:24000", "orders-2/app=https://[fd00::2]:24000", "orders-2/worker=https://[fd00::2]:24001"}
	if got := w.urls("orders"); !slices.Equal(got, want) {
		t.Errorf("Targets = %v, want %v", got, want)
	}
	identified := identity.Identity{Devspace: namespace, Kind: identity.Pod, Name: "orders-2", UID: "uid-of-orders-2"}
	if got := w.Targets("orders"); !slices.ContainsFunc(got, func(target tell.Target) bool { return target.Identity == identified }) {
		t.Errorf("no target is %s: %+v", identified, got)
	}
	if got := w.urls("nope"); got != nil {
		t.Errorf("a service without pods has %v", got)
	}
	object, _, err := w.informer.GetStore().GetByKey(namespace + "/orders-1")
	if kept := object.(*corev1.Pod); err != nil || len(kept.Spec.Containers) != 0 || kept.Annotations["other"] != "" {
		t.Errorf("kept of a pod: %+v, %v", object, err)
	}
}

func TestWatchFollows(t *testing.T) {
	client := fake.NewClientset()
	w := start(t, client)
	eventually(t, "the list arrives", func() bool { return w.Ready() == nil })
	// The fake forgets what is made between its list and its watch.
	eventually(t, "a watch is open", func() bool {
		return slices.ContainsFunc(client.Actions(), func(a k8stesting.Action) bool { return a.GetVerb() == "watch" })
	})
	pods := client.CoreV1().Pods(namespace)
	starting := pod("orders-1", "orders", func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodPending} })
	if _, err := pods.Create(t.Context(), starting, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.UpdateStatus(t.Context(), pod("orders-1", "orders"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod runs", func() bool { return len(w.Targets("orders")) == 1 })
	if err := pods.Delete(t.Context(), "orders-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is gone", func() bool { return len(w.Targets("orders")) == 0 })
}

// running is a pod whose container has the id.
func running(id string) *corev1.Pod {
	return pod("orders-1", "orders", func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ContainerID: id, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	})
}

func TestOnStart(t *testing.T) {
	old := running("0")
	old.Name = "orders-0"
	client := fake.NewClientset(old)
	started := make(chan string, 10)
	start(t, client, func(w *Watch) {
		if err := w.OnStart(func(service string, target tell.Target) { started <- service + " " + target.Pod + " " + target.URL }); err != nil {
			t.Fatal(err)
		}
	})
	wants := func(what, pod string) {
		t.Helper()
		select {
		case got := <-started:
			if want := "orders " + pod + " https://10.0.0.1:24000"; got != want {
				t.Errorf("%s: told of %q, want %q", what, got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: never told", what)
		}
	}
	wants("a pod from before", "orders-0")
	eventually(t, "a watch is open", func() bool {
		return slices.ContainsFunc(client.Actions(), func(a k8stesting.Action) bool { return a.GetVerb() == "watch" })
	})
	pods := client.CoreV1().Pods(namespace)
	update := func(p *corev1.Pod) {
		t.Helper()
		if _, err := pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pods.Create(t.Context(), pod("orders-1", "orders", func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodPending} }), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	update(running("1"))
	wants("a start", "orders-1")
	ready := running("1")
	ready.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	update(ready) // nothing that concerns a Stinger
	ended := running("1")
	ended.Status.ContainerStatuses[0].State = corev1.ContainerState{}
	update(ended)
	update(running("2"))
	wants("another start", "orders-1")
	update(pod("orders-1", "orders", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }))
	update(running("3"))
	wants("what came after the updates that are no start", "orders-1")
	if len(started) != 0 {
		t.Errorf("told of %q too", <-started)
	}
}

func TestNotReadyWithoutRights(t *testing.T) {
	client := fake.NewClientset()
	asked := make(chan struct{}, 100)
	client.PrependReactor("list", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		return true, nil, errors.New("forbidden")
	})
	w := start(t, client)
	<-asked
	if err := w.Ready(); err == nil || !strings.Contains(err.Error(), "list and watch pods") {
		t.Errorf("Ready() = %v, want an error that tells the right that may be missing", err)
	}
	if got := w.Targets("orders"); got != nil {
		t.Errorf("Targets = %v", got)
	}
}
