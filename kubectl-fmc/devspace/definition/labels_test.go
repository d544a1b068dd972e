package definition

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/formicarium/formicarium/internal/api"
)

// TestObjectsAreFoundByLabel: all that is made for a service carries the labels by
// which it is found, and taken away, without the definition; whatever a patch makes
// of its labels.
func TestObjectsAreFoundByLabel(t *testing.T) {
	for name, patches := range map[string]string{
		"as it is": "[]",
		"with labels of its own": `[
			{kind: Deployment, patch: [{op: add, path: /metadata/labels, value: {team: a}}, {op: add, path: /spec/template/metadata/labels, value: {team: a}}]},
			{kind: Service, patch: {op: remove, path: /metadata/labels}},
			{kind: ConfigMap, patch: {op: replace, path: /metadata/labels/app.kubernetes.io~1managed-by, value: somebody}}]`,
	} {
		d, err := parse(t, "services: {orders: {image: x, path: ., start: a, ports: [80], cache: {}, patches: "+patches+"}}", "")
		if err != nil {
			t.Fatal(err)
		}
		objects, err := d.Services[0].Objects("mine")
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]bool{}
		check := func(what string, labels map[string]string) {
			t.Helper()
			if labels[api.LabelManagedBy] != api.FieldManager || labels[api.LabelService] != "orders" || labels[api.LabelDevspace] != "mine" {
				t.Errorf("%s, the %s has the labels %v", name, what, labels)
			}
		}
		for _, object := range objects {
			kinds[object.GetKind()] = true
			check(object.GetKind(), object.GetLabels())
			if object.GetKind() == "Deployment" {
				labels, _, err := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "labels")
				if err != nil {
					t.Fatal(err)
				}
				check("Pod", labels)
				if name != "as it is" && (labels["team"] != "a" || object.GetLabels()["team"] != "a") {
					t.Errorf("the patch's own labels are not there: %v, %v", labels, object.GetLabels())
				}
			}
		}
		if len(kinds) != 4 {
			t.Errorf("there are the kinds %v, want four", kinds)
		}
	}
}
