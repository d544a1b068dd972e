package server

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Namespaces knows the labels of namespaces.
type Namespaces interface {
	// Labels returns the labels of the namespace with that name.
	Labels(ctx context.Context, name string) (map[string]string, error)
}

// Watch is Namespaces by a watch on the API server.
type Watch struct {
	client   kubernetes.Interface
	informer cache.SharedIndexInformer
}

// WatchNamespaces starts a watch that lasts until ctx ends. It needs get, list
// and watch on namespaces.
func WatchNamespaces(ctx context.Context, client kubernetes.Interface) (*Watch, error) {
	informer := informers.NewSharedInformerFactory(client, 0).Core().V1().Namespaces().Informer()
	if err := informer.SetTransform(labelsOnly); err != nil {
		return nil, fmt.Errorf("watching namespaces: %w", err)
	}
	go informer.RunWithContext(ctx)
	return &Watch{client: client, informer: informer}, nil
}

// labelsOnly keeps of a namespace what is asked of it: in a large cluster the
// rest is most of the memory.
func labelsOnly(object any) (any, error) {
	ns, ok := object.(*corev1.Namespace)
	if !ok {
		return object, nil
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: ns.Name, UID: ns.UID, ResourceVersion: ns.ResourceVersion, Labels: ns.Labels,
	}}, nil
}

// Ready reports that the first list has not come yet, or nil.
func (w *Watch) Ready() error {
	if !w.informer.HasSynced() {
		return errors.New("the namespaces are not known yet")
	}
	return nil
}

// Labels implements Namespaces. A namespace that the watch has not told of,
// because it was made a moment ago, is asked for.
func (w *Watch) Labels(ctx context.Context, name string) (map[string]string, error) {
	object, there, err := w.informer.GetStore().GetByKey(name)
	if err == nil && there {
		return object.(*corev1.Namespace).Labels, nil
	}
	ns, err := w.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no such namespace: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return ns.Labels, nil
}
