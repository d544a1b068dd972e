// Package podwatch knows the Stingers of a namespace's services from one watch
// on its pods.
//
//	watch := podwatch.New(client, "mine", log)
//	go watch.Run(ctx)
//	targets := watch.Targets("orders")
//
// It also tells of each Stinger whose container has just been seen to run: a
// push between the Stinger's first pull and that moment did not reach it.
//
// It needs the right to list and watch pods in its namespace, and no other. Of
// each pod it keeps the few fields that it uses.
package podwatch

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/tanajura/tell"
)

// byService is the index from a service to its pods.
const byService = "service"

// Watch is a watch on pods. Its methods may be used concurrently.
type Watch struct {
	informer cache.SharedIndexInformer
	log      *slog.Logger
}

// New returns a watch on the namespace's pods that are labelled with a service.
// Run starts it.
func New(client kubernetes.Interface, namespace string, log *slog.Logger) (*Watch, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = api.LabelService }),
	)
	w := &Watch{informer: factory.Core().V1().Pods().Informer(), log: log}
	index := cache.Indexers{byService: func(object any) ([]string, error) {
		if pod, ok := object.(*corev1.Pod); ok {
			return []string{pod.Labels[api.LabelService]}, nil
		}
		return nil, nil
	}}
	if err := errors.Join(
		w.informer.SetTransform(slim),
		w.informer.AddIndexers(index),
		w.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
			if ctx.Err() == nil {
				log.Warn("watching pods", "namespace", namespace, "error", err)
			}
		}),
	); err != nil {
		return nil, err
	}
	return w, nil
}

// OnStart has f called with each Stinger whose container was started, or was
// running already at the first look. It is for before Run; f should not wait
// for long.
func (w *Watch) OnStart(f func(service string, target tell.Target)) error {
	changed := func(before, now any) {
		pod, ok := now.(*corev1.Pod)
		if !ok {
			return
		}
		old, _ := before.(*corev1.Pod)
		for _, target := range w.running(pod) {
			id := containerID(pod, target.Container)
			if id != "" && (old == nil || !runs(old) || containerID(old, target.Container) != id) {
				f(pod.Labels[api.LabelService], target)
			}
		}
	}
	_, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(now any) { changed(nil, now) },
		UpdateFunc: changed,
	})
	return err
}

// Run watches until ctx ends. It goes on by itself where the API server goes
// away and comes back.
func (w *Watch) Run(ctx context.Context) { w.informer.RunWithContext(ctx) }

// Ready reports why nothing is known yet: the first list has not arrived.
func (w *Watch) Ready() error {
	if !w.informer.HasSynced() {
		return errors.New("the list of pods has not arrived yet: the API server does not answer, or refuses this service account to list and watch pods")
	}
	return nil
}

// Targets is a tell.Find: the Stingers of the service's pods that run.
func (w *Watch) Targets(service string) []tell.Target {
	objects, err := w.informer.GetIndexer().ByIndex(byService, service)
	if err != nil {
		w.log.Error("looking up pods", "service", service, "error", err)
		return nil
	}
	var targets []tell.Target
	for _, object := range objects {
		pod, ok := object.(*corev1.Pod)
		if ok {
			targets = append(targets, w.running(pod)...)
		}
	}
	return targets
}

// running returns the Stingers of a pod that runs.
func (w *Watch) running(pod *corev1.Pod) []tell.Target {
	if !runs(pod) {
		return nil
	}
	found, err := stingers(pod)
	if err != nil {
		w.log.Warn("reading a pod's annotation", "pod", pod.Name, "annotation", api.AnnotationStatus, "error", err)
	}
	return found
}

func runs(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && pod.Status.PodIP != "" && pod.DeletionTimestamp == nil
}

// containerID returns the id of a container that runs, which changes with each
// start; "" where it does not run.
func containerID(pod *corev1.Pod, name string) string {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == name && s.State.Running != nil {
			return s.ContainerID
		}
	}
	return ""
}

// stingers reads where a pod's Stingers are from what the webhook wrote.
func stingers(pod *corev1.Pod) ([]tell.Target, error) {
	text := pod.Annotations[api.AnnotationStatus]
	if text == "" {
		return nil, nil
	}
	var status api.InjectionStatus
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return nil, err
	}
	var targets []tell.Target
	for _, endpoint := range status.Stingers {
		targets = append(targets, tell.Target{
			Pod:       pod.Name,
			Container: endpoint.Container,
			URL:       "https://" + net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(endpoint.Port)),
			Identity:  identity.Identity{Devspace: pod.Namespace, Kind: identity.Pod, Name: pod.Name, UID: string(pod.UID)},
		})
	}
	return targets, nil
}

// slim leaves of a pod what this package reads, before it is kept.
func slim(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	var containers []corev1.ContainerStatus
	for _, s := range pod.Status.ContainerStatuses {
		kept := corev1.ContainerStatus{Name: s.Name, ContainerID: s.ContainerID}
		if s.State.Running != nil {
			kept.State.Running = &corev1.ContainerStateRunning{}
		}
		containers = append(containers, kept)
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
			DeletionTimestamp: pod.DeletionTimestamp,
			Labels:            map[string]string{api.LabelService: pod.Labels[api.LabelService]},
			Annotations:       map[string]string{api.AnnotationStatus: pod.Annotations[api.AnnotationStatus]},
		},
		Status: corev1.PodStatus{Phase: pod.Status.Phase, PodIP: pod.Status.PodIP, ContainerStatuses: containers},
	}, nil
}
