package inject

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/formicarium/formicarium/internal/testutil"
)

func testSettings() Settings {
	return Settings{
		Version:        "v0.0.0-test",
		NetraImage:     "registry.example/netra:test",
		NetraInitImage: "registry.example/netra-init:test",
		StingerImage:   "registry.example/stinger:test",

		NetraInitIPTablesImage: "registry.example/netra-init-iptables:test",

		PullPolicy:     corev1.PullIfNotPresent,
		JaegerEndpoint: "http://jaeger.fmc-system:14268/api/traces",
		HubURL:         "https://tanajura:24090",
		NativeSidecar:  true,
		NetraResources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("24Mi")},
		},
		InitResources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
		},
	}
}

// surroundings are what the pods of testdata meet, where that is not an
// ordinary namespace.
var surroundings = map[string]struct {
	ns       NamespaceInfo
	ordinary bool
	backend  string
}{
	"namespace-opt-in":               {ns: NamespaceInfo{Name: "shop", Inject: "enabled"}},
	"annotation-wins-over-namespace": {ns: NamespaceInfo{Name: "shop", Inject: "enabled"}},
	"disabled-in-opted-in-namespace": {ns: NamespaceInfo{Name: "shop", Inject: "enabled"}},
	"system-namespace":               {ns: NamespaceInfo{Name: "kube-system", Inject: "enabled"}},
	"restricted-namespace":           {ns: NamespaceInfo{Name: "shop", EnforceLevel: "restricted"}},
	"baseline-namespace-opted-in":    {ns: NamespaceInfo{Name: "shop", Inject: "enabled", EnforceLevel: "baseline"}},
	"ordinary-sidecar":               {ns: NamespaceInfo{Name: "shop"}, ordinary: true},
	"probes-restricted-namespace":    {ns: NamespaceInfo{Name: "shop", EnforceLevel: "restricted"}},
	"probes-ordinary-sidecar":        {ns: NamespaceInfo{Name: "shop"}, ordinary: true},
	"iptables-by-installation":       {ns: NamespaceInfo{Name: "shop"}, backend: "iptables"},
	"iptables-installation-declined": {ns: NamespaceInfo{Name: "shop"}, backend: "iptables"},
	"scheduled-cleanup-owner":        {ns: NamespaceInfo{Name: "shop"}, ordinary: true},
	"cert-manager":                   {ns: NamespaceInfo{Name: "cert-manager", Inject: "enabled"}},
	"restricted-stinger":             {ns: NamespaceInfo{Name: "shop", EnforceLevel: "restricted"}},
	"baseline-stinger":               {ns: NamespaceInfo{Name: "shop", EnforceLevel: "baseline"}},
	"typo-in-namespace-label":        {ns: NamespaceInfo{Name: "shop", Inject: "enable"}},
	"system-workload":                {ns: NamespaceInfo{Name: "fmc-system", Inject: "enabled"}},
}

// inputs returns the pods of testdata as JSON, with what they meet.
func inputs(t testing.TB, each func(name string, pod []byte, ns NamespaceInfo, s Settings)) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding testdata: %v, %d files", err, len(files))
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pod, err := yaml.YAMLToJSON(data)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".in.yaml")
		ns, s := NamespaceInfo{Name: "shop"}, testSettings()
		s.Images = testImages
		if other, ok := surroundings[name]; ok {
			ns, s.NativeSidecar, s.RedirectBackend = other.ns, !other.ordinary, other.backend
		}
		each(name, pod, ns, s)
	}
}

// apply returns the pod with the result's patch, as the API server would.
func apply(t testing.TB, pod []byte, r Result) []byte {
	t.Helper()
	data, err := json.Marshal(r.Patch)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(data)
	if err != nil {
		t.Fatalf("decoding the patch: %v\n%s", err, data)
	}
	patched, err := patch.Apply(pod)
	if err != nil {
		t.Fatalf("applying the patch: %v\n%s\nto %s", err, data, pod)
	}
	return patched
}

func mustInject(t testing.TB, pod []byte, ns NamespaceInfo, s Settings) Result {
	t.Helper()
	r, err := Inject(pod, ns, s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGolden(t *testing.T) {
	inputs(t, func(name string, pod []byte, ns NamespaceInfo, s Settings) {
		t.Run(name, func(t *testing.T) {
			r := mustInject(t, pod, ns, s)
			patched, err := yaml.JSONToYAML(apply(t, pod, r))
			if err != nil {
				t.Fatal(err)
			}
			testutil.Golden(t, "testdata/"+name+".golden.yaml", patched)
			var patch bytes.Buffer
			encoder := json.NewEncoder(&patch)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(r); err != nil {
				t.Fatal(err)
			}
			testutil.Golden(t, "testdata/"+name+".patch.json", patch.Bytes())
			for _, w := range r.Warnings {
				// The API server cuts longer ones.
				if len(w) > 256 {
					t.Errorf("a warning has %d bytes: %s", len(w), w)
				}
			}
		})
	})
}

func TestInjectingTwiceChangesNothing(t *testing.T) {
	inputs(t, func(name string, pod []byte, ns NamespaceInfo, s Settings) {
		t.Run(name, func(t *testing.T) {
			first := mustInject(t, pod, ns, s)
			once := apply(t, pod, first)
			second := mustInject(t, once, ns, s)
			if len(second.Patch) > 0 {
				t.Errorf("the second patch is not empty: %v", second.Patch)
			}
			if a, b := first.Status, second.Status; len(first.Patch) > 0 && !equalJSON(t, a, b) {
				t.Errorf("the status differs:\n%v\n%v", a, b)
			}
			// A newer webhook leaves what an older one injected.
			s.Version = "v9.9.9"
			if r := mustInject(t, once, ns, s); len(r.Patch) > 0 {
				t.Errorf("another version's patch is not empty: %v", r.Patch)
			}
		})
	})
}

func equalJSON(t testing.TB, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}

// What a patch does not mention stays as it was, to the letter: taking out
// what was put in gives the pod that was sent.
func TestWhatIsNotOursStays(t *testing.T) {
	inputs(t, func(name string, pod []byte, ns NamespaceInfo, s Settings) {
		t.Run(name, func(t *testing.T) {
			r := mustInject(t, pod, ns, s)
			for _, op := range r.Patch {
				switch {
				case op.Op == "add":
				case op.Op == "replace" && (strings.HasSuffix(op.Path, "/command") || strings.HasSuffix(op.Path, "Probe/httpGet/scheme")):
				case op.Op == "remove" && (strings.HasSuffix(op.Path, "/args") || strings.HasSuffix(op.Path, "Probe/tcpSocket")):
				default:
					t.Errorf("%s %s: nothing but a command is replaced and nothing but arguments and tcpSockets removed", op.Op, op.Path)
				}
				// The only values of the user's that a patch may carry are
				// those of the command.
				data, _ := json.Marshal(op.Value)
				if bytes.Contains(data, []byte("newContainer")) || bytes.Contains(data, []byte("newMount")) || bytes.Contains(data, []byte("newInit")) {
					t.Errorf("%s %s rewrites what was there: %s", op.Op, op.Path, data)
				}
			}
		})
	})
}

func TestUnknownFieldsSurvive(t *testing.T) {
	data, err := os.ReadFile("testdata/unknown-fields.in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pod, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	patched := apply(t, pod, mustInject(t, pod, NamespaceInfo{Name: "shop"}, testSettings()))
	for _, want := range []string{`"newMetadata":{"depth":[1,2.5,`, `"newSpec":true`, `"newContainer":{"a":null}`, `"newEnv":`, `"newMount":"x"`, `"newInit":`, `"newSource":{}`} {
		if !bytes.Contains(patched, []byte(want)) {
			t.Errorf("the patched pod lacks %s:\n%s", want, patched)
		}
	}
}

func TestSamePodSamePatch(t *testing.T) {
	inputs(t, func(name string, pod []byte, ns NamespaceInfo, s Settings) {
		first := mustInject(t, pod, ns, s)
		for range 20 {
			if again := mustInject(t, pod, ns, s); !equalJSON(t, first, again) {
				t.Fatalf("%s: results differ:\n%v\n%v", name, first, again)
			}
		}
	})
}

func TestNotAPod(t *testing.T) {
	for _, text := range []string{
		``, `null`, `[]`, `"pod"`, `{`, `{}{}`, `{"spec":[]}`, `{"spec":{"containers":{}}}`, `{"metadata":{"annotations":{"formicarium.io/inject":1}}}`,
		`{"metadata":{"annotations":{"formicarium.io/inject":"stinger","formicarium.io/stinger-wait-for-code":"true"}},"spec":{"containers":[null]}}`,
	} {
		if r, err := Inject([]byte(text), NamespaceInfo{}, testSettings()); err == nil {
			t.Errorf("Inject(%s) = %v, want an error", text, r)
		}
	}
}
