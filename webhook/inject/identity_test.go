package inject

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// earlier is what a version without identities has written into a pod: all but
// the identity.
const earlier = `{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"stinger","formicarium.io/status":"{\"version\":\"v0\",\"service\":\"web\",\"injected\":[\"stinger\"],\"stingers\":[{\"container\":\"web\",\"port\":24000}]}"},"labels":{"formicarium.io/service":"web"}},
	"spec":{"containers":[{"name":"web","command":["/fmc/bin/stinger","run","--","/web"],"readinessProbe":{"httpGet":{"path":"/ready","port":24000}},
		"env":[{"name":"STINGER_GIT_URL","value":"http://tanajura:24090/web.git"}],
		"volumeMounts":[{"name":"fmc-bin","mountPath":"/fmc/bin","readOnly":true},{"name":"fmc-app","mountPath":"/fmc/app"},{"name":"fmc-state","mountPath":"/fmc/state"}]}],
	"initContainers":[{"name":"stinger-install","image":"registry.example/stinger:v0"}],
	"volumes":[{"name":"fmc-bin","emptyDir":{}},{"name":"fmc-app","emptyDir":{}},{"name":"fmc-state","emptyDir":{}}]}}`

// A template that an earlier version wrote out has that version's Stinger, and is
// left to it, its probes included; who creates the pod is told.
func TestEarlierInjectionStays(t *testing.T) {
	r := mustInject(t, []byte(earlier), NamespaceInfo{Name: "shop"}, testSettings())
	if len(r.Patch) > 0 || !slices.Equal(r.Injected(), []string{PartStinger}) {
		t.Errorf("the patch is %v, injected is %v", r.Patch, r.Injected())
	}
	if text := strings.Join(r.Warnings, "\n"); !strings.Contains(text, "earlier version") || len(text) > 256 {
		t.Errorf("the warnings are %q", text)
	}
}

// A pod has one identity, whatever number of containers it has, and each devspace
// another.
func TestOneIdentityForThePod(t *testing.T) {
	pod := []byte(`{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"stinger","formicarium.io/container":"a,b"}},"spec":{"hostNetwork":true,"automountServiceAccountToken":false,"containers":[{"name":"a","command":["/a"]},{"name":"b","command":["/b"]},{"name":"c"}]}}`)
	patched := decode(t, apply(t, pod, mustInject(t, pod, NamespaceInfo{Name: "mine"}, testSettings())))
	mounts := map[string]int{}
	for _, c := range slices.Concat(patched.Spec.InitContainers, patched.Spec.Containers) {
		if m, ok := mountAt(c, identityPath); ok {
			if mounts[c.Name]++; !m.ReadOnly || m.Name != volumeIdentity {
				t.Errorf("container %s has %+v", c.Name, m)
			}
		}
	}
	if len(mounts) != 2 || mounts["a"] != 1 || mounts["b"] != 1 {
		t.Errorf("the identity is mounted in %v", mounts)
	}
	volumes := slices.DeleteFunc(patched.Spec.Volumes, func(v corev1.Volume) bool { return v.Name != volumeIdentity })
	if len(volumes) != 1 || volumes[0].Projected.Sources[0].ServiceAccountToken.Audience != "formicarium.io/devspace/mine" {
		t.Errorf("the volumes are %+v", volumes)
	}
}

// What was written out for one namespace may be applied in another, and is taken
// out as well there.
func TestIdentityIsOfTheNamespace(t *testing.T) {
	pod := []byte(`{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"stinger"}},"spec":{"containers":[{"name":"a","command":["/a"]}],"volumes":[{"name":"own","emptyDir":{}}]}}`)
	written := apply(t, pod, mustInject(t, pod, NamespaceInfo{Name: "default"}, testSettings()))
	r := mustInject(t, written, NamespaceInfo{Name: "mine"}, testSettings())
	admitted := apply(t, written, r)
	want := strings.ReplaceAll(string(written), "devspace/default", "devspace/mine")
	if len(r.Patch) != 1 || !sameJSON(t, admitted, []byte(want)) {
		t.Errorf("the patch is %v", r.Patch)
	}
	if again := mustInject(t, admitted, NamespaceInfo{Name: "mine"}, testSettings()); len(again.Patch) > 0 {
		t.Errorf("injecting again changes %v", again.Patch)
	}
	undo, err := Uninject(admitted)
	if err != nil {
		t.Fatal(err)
	}
	if back := apply(t, admitted, Result{Patch: undo}); !sameJSON(t, pod, back) {
		t.Errorf("what comes back differs:\n%s", back)
	}
}

// Netra alone needs no identity.
func TestNoIdentityWithoutStinger(t *testing.T) {
	pod := []byte(`{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"netra"}},"spec":{"containers":[{"name":"a","command":["/a"]}]}}`)
	if patched := string(apply(t, pod, mustInject(t, pod, NamespaceInfo{Name: "mine"}, testSettings()))); strings.Contains(patched, volumeIdentity) {
		t.Errorf("there is an identity in\n%s", patched)
	}
}
