package devspace

import (
	"testing"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace/definition"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A claim that is there is grown, never shrunk, and its class stays.
func TestSettleClaims(t *testing.T) {
	fast := "fast"
	there := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: definition.SharedCache, Namespace: "mine"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &fast,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}},
		},
	}
	client := fakeClient(t, nil, there)
	settle := func(size, class string) (string, error) {
		s, err := definition.New("orders", "x", "/orders", nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Cache = &definition.Cache{Size: resource.MustParse(size), Shared: true, StorageClass: class}
		objects, err := s.Objects("mine")
		if err != nil {
			t.Fatal(err)
		}
		if err := client.settleClaims(t.Context(), objects); err != nil {
			return "", err
		}
		got, _, err := unstructured.NestedString(objects[0].Object, "spec", "resources", "requests", "storage")
		return got, err
	}
	for asked, want := range map[string]string{"1Gi": "5Gi", "5Gi": "5Gi", "8Gi": "8Gi"} {
		if got, err := settle(asked, ""); err != nil || got != want {
			t.Errorf("%s of 5Gi: %q, %v, want %s", asked, got, err, want)
		}
	}
	if _, err := settle("5Gi", fast); err != nil {
		t.Errorf("the same class: %v", err)
	}
	_, err := settle("5Gi", "slow")
	wantError(t, "another class", err, `has the storage class "fast"`, "delete pvc fmc-cache")

	now := metav1.Now()
	there.DeletionTimestamp, there.Finalizers = &now, []string{"kubernetes.io/pvc-protection"}
	client = fakeClient(t, nil, there)
	_, err = settle("5Gi", "")
	wantError(t, "a claim that goes", err, "is being deleted")
}
