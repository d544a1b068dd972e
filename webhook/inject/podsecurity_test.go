package inject

import (
	"encoding/json"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	admission "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// violations returns the checks of the Pod Security level that the pod fails,
// as the API server's own evaluator finds them.
func violations(t *testing.T, level admission.Level, podJSON []byte) []string {
	t.Helper()
	var pod corev1.Pod
	if err := json.Unmarshal(podJSON, &pod); err != nil {
		t.Fatal(err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, r := range evaluator.EvaluatePod(admission.LevelVersion{Level: level, Version: admission.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
		if !r.Allowed {
			list = append(list, r.ForbiddenReason+": "+r.ForbiddenDetail)
		}
	}
	slices.Sort(list)
	return list
}

// What is injected adds nothing that "restricted" refuses, netra-init aside:
// the pod with it fails just what the pod without it fails.
func TestInjectedPodsMeetPodSecurity(t *testing.T) {
	injected := 0
	inputs(t, func(name string, pod []byte, ns NamespaceInfo, s Settings) {
		patched := without(t, apply(t, pod, mustInject(t, pod, ns, s)), "netra-init")
		for _, level := range []admission.Level{admission.LevelBaseline, admission.LevelRestricted} {
			before, after := violations(t, level, pod), violations(t, level, patched)
			if !slices.Equal(before, after) {
				t.Errorf("%s: %s refuses\n%q\nof the injected pod, of the pod itself\n%q", name, level, after, before)
			}
		}
		// A pod that "restricted" admits is admitted with all that is injected.
		clean := []byte(`{"metadata":{"annotations":{"formicarium.io/inject":"enabled"}},"spec":{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},
			"containers":[{"name":"web","command":["/web"],"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`)
		r := mustInject(t, clean, NamespaceInfo{Name: "shop", EnforceLevel: "restricted"}, s)
		if got := violations(t, admission.LevelRestricted, apply(t, clean, r)); len(got) > 0 || !slices.Equal(r.Injected(), []string{PartStinger}) {
			t.Errorf("restricted refuses %q of a pod with %v", got, r.Injected())
		}
		if len(mustInject(t, pod, ns, s).Injected()) > 0 {
			injected++
		}
	})
	if injected < 10 {
		t.Errorf("only %d pods of testdata are injected", injected)
	}
	// And netra-init is what it is for: the test would see it.
	pod := []byte(`{"metadata":{"annotations":{"formicarium.io/inject":"netra"}},"spec":{"containers":[{"name":"web"}]}}`)
	if got := violations(t, admission.LevelBaseline, apply(t, pod, mustInject(t, pod, NamespaceInfo{Name: "shop"}, testSettings()))); len(got) != 1 {
		t.Errorf("baseline refuses %q of a pod with netra-init", got)
	}
}

// without returns the pod without one of its init containers.
func without(t *testing.T, podJSON []byte, name string) []byte {
	t.Helper()
	var pod corev1.Pod
	if err := json.Unmarshal(podJSON, &pod); err != nil {
		t.Fatal(err)
	}
	pod.Spec.InitContainers = slices.DeleteFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
	data, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
