package devspace

import (
	"bytes"
	"context"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace/definition"
)

// pushes counts the pushes that a deploy asks for.
type pushes int

func (p *pushes) Push(context.Context) (Pushed, error) {
	*p++
	return Pushed{}, nil
}

// TestDeployLeavesForeignObjectsAlone: what somebody else made under the service's
// name, by hand, by Helm or by a GitOps controller that would put it back, is never
// changed, and then nothing else is either.
func TestDeployLeavesForeignObjectsAlone(t *testing.T) {
	meta := metav1.ObjectMeta{Name: "orders", Namespace: "mine", Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"}}
	for kind, object := range map[string]runtime.Object{
		"deployment/orders": &appsv1.Deployment{ObjectMeta: meta},
		"service/orders":    &corev1.Service{ObjectMeta: meta},
	} {
		client := fakeClient(t, nil, object, mine(), hubPod())
		service, err := definition.New("orders", "busybox", t.TempDir(), []string{"sleep", "1000"})
		if err != nil {
			t.Fatal(err)
		}
		service.Ports = []definition.Port{{Name: "http", Port: 8080, Target: 8080}}
		var pushed pushes
		err = client.Deploy(t.Context(), "mine", service, &pushed, &bytes.Buffer{})
		wantError(t, "deploy over a foreign "+kind, err, kind, "was not made by the plugin")
		if pushed > 0 {
			t.Errorf("%s: the code was pushed all the same", kind)
		}
		for _, action := range client.Dynamic.(*dynamicfake.FakeDynamicClient).Actions() {
			if verb := action.GetVerb(); verb != "get" && verb != "list" {
				t.Errorf("%s: the deploy did %s %s", kind, verb, action.GetResource().Resource)
			}
		}
	}
}
