package devspace

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	kubetesting "k8s.io/client-go/testing"
)

func TestCheckServer(t *testing.T) {
	for _, tt := range []struct {
		minor string
		drops bool   // the API server has matchConditions turned off
		fault string // part of the error
	}{
		{"27", false, "1.28 is the oldest"},
		{"28+", false, ""},
		{"29", true, "AdmissionWebhookMatchConditions"},
		{"29", false, ""},
		{"30", true, ""}, // it cannot
		{"36+", false, ""},
		{"", false, ""},
	} {
		kube := fake.NewClientset()
		discovery, ok := kube.Discovery().(*fakediscovery.FakeDiscovery)
		if !ok {
			t.Fatal("the fake client has another discovery")
		}
		discovery.FakedServerVersion = &version.Info{Major: "1", Minor: tt.minor, GitVersion: "v1." + tt.minor + ".0"}
		err := (&Client{Kube: kube, Dynamic: applying(t, tt.drops)}).checkServer(t.Context(), configurationOf(t))
		if tt.fault == "" && err != nil || tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault) || !strings.Contains(err.Error(), "v1."+tt.minor+".0")) {
			t.Errorf("minor %q, dropping %v: %v, want an error with %q", tt.minor, tt.drops, err, tt.fault)
		}
	}
}

func configurationOf(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	objects, err := SystemObjects(InstallConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return objects[len(objects)-1]
}

// applying is an API server that answers what it was sent, with or without the
// conditions, and refuses what is not for show.
func applying(t *testing.T, drops bool) *dynamicfake.FakeDynamicClient {
	client := dynamicfake.NewSimpleDynamicClient(scheme.Scheme)
	client.PrependReactor("patch", "mutatingwebhookconfigurations", func(action kubetesting.Action) (bool, runtime.Object, error) {
		patch, ok := action.(kubetesting.PatchActionImpl)
		if !ok || len(patch.PatchOptions.DryRun) == 0 {
			t.Errorf("%v is not for show", action)
		}
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(patch.GetPatch()); err != nil {
			return true, nil, err
		}
		webhooks, _, err := unstructured.NestedSlice(object.Object, "webhooks")
		for _, w := range webhooks {
			if w, ok := w.(map[string]any); ok && drops {
				delete(w, "matchConditions")
			}
		}
		if err == nil {
			err = unstructured.SetNestedSlice(object.Object, webhooks, "webhooks")
		}
		return true, &object, err
	})
	return client
}
