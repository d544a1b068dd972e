package inject

import (
	"testing"
)

// FuzzInject looks for pods that stop the webhook, that get a patch which does
// not fit, or that are changed again when injected again.
func FuzzInject(f *testing.F) {
	inputs(f, func(_ string, pod []byte, ns NamespaceInfo, s Settings) {
		f.Add(pod, ns.Inject, ns.EnforceLevel, s.NativeSidecar)
	})
	kinds := []ImageCommand{testImages["registry.example/shell-form:1"], {}, {Cmd: []string{"/c"}}, {Fault: "unknown"}}
	f.Fuzz(func(t *testing.T, pod []byte, label, level string, native bool) {
		ns, s := NamespaceInfo{Name: "shop", Inject: label, EnforceLevel: level}, testSettings()
		s.NativeSidecar = native
		if q, err := NeedsImages(pod, ns); err == nil {
			s.Images = map[string]ImageCommand{}
			for i, image := range q.Images {
				s.Images[image] = kinds[i%len(kinds)]
			}
		}
		r, err := Inject(pod, ns, s)
		if err != nil || len(r.Patch) == 0 {
			return
		}
		once := apply(t, pod, r)
		again, err := Inject(once, ns, s)
		if err != nil {
			t.Fatalf("the patched pod is none: %v\n%s", err, once)
		}
		if len(again.Patch) > 0 {
			t.Fatalf("injecting again changes %v in\n%s", again.Patch, once)
		}
	})
}
