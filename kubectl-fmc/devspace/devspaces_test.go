package devspace

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/manifests"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func installed() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: manifests.InstallationName, Namespace: api.SystemNamespace},
		Data:       map[string]string{"version": "v1", "registry": "registry.example/fmc", "tag": "v1", "pullPolicy": "IfNotPresent"},
	}
}

func TestCreateRefusesForeignNamespaces(t *testing.T) {
	terminating := mine()
	terminating.Name = "going"
	terminating.DeletionTimestamp = &metav1.Time{}
	client := fakeClient(t, nil, installed(), reviewer(), namespace("default", nil), namespace("kube-public", nil), namespace("shop", nil), terminating)
	for name, part := range map[string]string{
		"default":     "choose another name",
		"kube-public": "choose another name",
		"shop":        "kubectl label namespace shop",
		"going":       "being deleted",
		"No":          "devspace name",
	} {
		err := client.CreateDevspace(t.Context(), CreateConfig{Name: name}, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("create %s = %v, want an error with %q", name, err, part)
		}
	}
}

func TestCreateWithoutInstallation(t *testing.T) {
	err := fakeClient(t, nil).CreateDevspace(t.Context(), CreateConfig{Name: "mine"}, &bytes.Buffer{})
	if !errors.Is(err, ErrNotInstalled) {
		t.Errorf("create = %v, want ErrNotInstalled", err)
	}
}

func TestListAndGet(t *testing.T) {
	other := mine()
	other.Name = "another"
	client := fakeClient(t, nil, mine(), other, namespace("shop", nil))
	found, err := client.ListDevspaces(t.Context())
	if err != nil || len(found) != 2 || found[0].Name != "another" || found[1].Name != "mine" {
		t.Errorf("list = %+v, %v", found, err)
	}
	var none *NoDevspaceError
	if _, err := client.GetDevspace(t.Context(), "shop"); !errors.As(err, &none) || !none.Foreign {
		t.Errorf("get shop = %v", err)
	}
	if _, err := client.GetDevspace(t.Context(), "nope"); !errors.As(err, &none) || none.Foreign {
		t.Errorf("get nope = %v", err)
	}
}

func TestDeleteLeavesForeignNamespacesAlone(t *testing.T) {
	client := fakeClient(t, nil, mine(), namespace("shop", nil))
	var none *NoDevspaceError
	if err := client.DeleteDevspace(t.Context(), "shop", &bytes.Buffer{}); !errors.As(err, &none) {
		t.Errorf("delete shop = %v", err)
	}
	if err := client.DeleteDevspace(t.Context(), "mine", &bytes.Buffer{}); err != nil {
		t.Errorf("delete mine = %v", err)
	}
	if _, err := client.GetDevspace(t.Context(), "mine"); !errors.As(err, &none) {
		t.Errorf("mine is still there: %v", err)
	}
}

func TestUninstallAsksForDevspaces(t *testing.T) {
	client := fakeClient(t, nil, mine())
	var exist *ErrDevspacesExist
	if err := client.Uninstall(t.Context(), false, &bytes.Buffer{}); !errors.As(err, &exist) || len(exist.Names) != 1 {
		t.Errorf("uninstall = %v, want ErrDevspacesExist", err)
	}
}

func TestApplyRefusesForeignObjects(t *testing.T) {
	client := fakeClient(t, nil, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "orders", Namespace: "mine"}})
	objects, err := manifests.Devspace(manifests.DevspaceSettings{Name: "mine", Pods: 2})
	if err != nil {
		t.Fatal(err)
	}
	object := objects[1]
	object.SetKind("ConfigMap")
	object.SetName("orders")
	if err := client.checkOwn(t.Context(), object); err == nil || !strings.Contains(err.Error(), "kubectl label configmap/orders -n mine") {
		t.Errorf("checkOwn = %v, want the way to take it over", err)
	}
}

// Every kind of the manifests can be applied.
func TestKindsAreKnown(t *testing.T) {
	system, err := SystemObjects(InstallConfig{Registry: "r", Tag: "t", JaegerImage: "j"})
	if err != nil {
		t.Fatal(err)
	}
	own, err := manifests.Devspace(manifests.DevspaceSettings{Name: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range append(system, own...) {
		k, ok := kinds[object.GetKind()]
		if !ok || k.cluster != (object.GetNamespace() == "") {
			t.Errorf("%s: known %v, outside of namespaces %v", objectName(object), ok, k.cluster)
		}
		if gv := k.resource.GroupVersion().String(); gv != object.GetAPIVersion() {
			t.Errorf("%s: %s, want %s", objectName(object), gv, object.GetAPIVersion())
		}
	}
}

// The same status has several causes; only missing rights have that way out.
func TestExplainForbidden(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	forbidden := func(reason string) *apierrors.StatusError {
		return apierrors.NewForbidden(pods, "a", errors.New(reason))
	}
	terminating := forbidden("namespace mine is being terminated")
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for _, test := range []struct {
		err  error
		want bool
	}{
		{forbidden(`User "ann" cannot create resource "pods"`), true},
		{forbidden("exceeded quota: devspace, requested: pods=1"), false},
		{fmt.Errorf("applying pod/a: %w", terminating), false},
		{errors.New("no route to host"), false},
	} {
		err := explainForbidden(test.err, "ask an administrator")
		if got := strings.Contains(err.Error(), "ask an administrator"); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%v: explained %t, want %t", err, got, test.want)
		}
	}
}
