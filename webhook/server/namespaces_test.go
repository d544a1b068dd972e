package server

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func namespace(name, value string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"formicarium.io/inject": value}, Annotations: map[string]string{"long": "story"},
	}}
}

func TestWatchNamespaces(t *testing.T) {
	ctx := t.Context()
	client := fake.NewClientset(namespace("shop", "enabled"))
	w, err := WatchNamespaces(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the first list", func() bool { return w.Ready() == nil })
	expect := func(name, want string) {
		t.Helper()
		if labels, err := w.Labels(ctx, name); err != nil || labels["formicarium.io/inject"] != want {
			t.Errorf("Labels(%s) = %v, %v, want %q", name, labels, err, want)
		}
	}
	expect("shop", "enabled")
	gets := len(client.Actions())
	expect("shop", "enabled")
	if len(client.Actions()) != gets {
		t.Error("a namespace that is known is asked for")
	}
	if object, _, _ := w.informer.GetStore().GetByKey("shop"); object.(*corev1.Namespace).Annotations != nil {
		t.Error("the cache keeps more than labels")
	}

	if _, err := client.CoreV1().Namespaces().Create(ctx, namespace("new", "enabled"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("new", "enabled") // whether the watch has told or not
	if _, err := client.CoreV1().Namespaces().Update(ctx, namespace("shop", "disabled"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the change", func() bool {
		labels, err := w.Labels(ctx, "shop")
		return err == nil && labels["formicarium.io/inject"] == "disabled"
	})
	if _, err := w.Labels(ctx, "nowhere"); err == nil {
		t.Error("a namespace that does not exist has labels")
	}
}

func TestWatchNamespacesBeforeTheFirstList(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	w, err := WatchNamespaces(ended, fake.NewClientset(namespace("shop", "enabled")))
	if err != nil {
		t.Fatal(err)
	}
	if w.Ready() == nil {
		t.Error("Ready before the first list")
	}
	if labels, err := w.Labels(context.Background(), "shop"); err != nil || labels["formicarium.io/inject"] != "enabled" {
		t.Errorf("Labels = %v, %v", labels, err)
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s took more than 20 s", what)
		}
	}
}
