package inject

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/internal/api"
)

func TestToName(t *testing.T) {
	for text, want := range map[string]string{
		"orders": "orders", "Web Shop": "web-shop", "2048.production": "s-2048-production", "--a--": "a", "": "", "äöü": "", "web-": "web",
		strings.Repeat("a", 62) + "-b": strings.Repeat("a", 62),
	} {
		got := toName(text)
		if got != want {
			t.Errorf("toName(%q) = %q, want %q", text, got, want)
		}
		if got != "" && api.CheckName("service", got) != nil {
			t.Errorf("toName(%q) = %q, which is no name", text, got)
		}
		if again := toName(got); again != got {
			t.Errorf("toName(%q) = %q", got, again)
		}
	}
}

// Each source of the name wins over all that come after it.
func TestServiceNameOrder(t *testing.T) {
	pod := corev1.Pod{}
	pod.Annotations = map[string]string{api.AnnotationInject: "netra", api.AnnotationService: "one", annotationOTelService: "three"}
	pod.Labels = map[string]string{api.LabelService: "two", api.LabelName: "four", "pod-template-hash": "abc"}
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "Node", Name: "no"}, {Kind: "ReplicaSet", Name: "five-abc", Controller: new(true)}}
	pod.GenerateName, pod.Name = "six-", "seven"
	for _, step := range []struct {
		want   string
		remove func()
	}{
		{"one", func() { delete(pod.Annotations, api.AnnotationService) }},
		{"two", func() { delete(pod.Labels, api.LabelService) }},
		{"three", func() { delete(pod.Annotations, annotationOTelService) }},
		{"four", func() { delete(pod.Labels, api.LabelName) }},
		{"five", func() { pod.OwnerReferences = nil }},
		{"six", func() { pod.GenerateName = "" }},
		{"seven", func() { pod.Name = "" }},
		{"unnamed", func() {}},
	} {
		data, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		if r := mustInject(t, data, NamespaceInfo{}, testSettings()); r.Status.Service != step.want {
			t.Errorf("service %q, want %q, of %s", r.Status.Service, step.want, data)
		}
		step.remove()
	}
}

func TestSuggest(t *testing.T) {
	for value, want := range map[string]string{
		"enable": "enabled", "Enabled": "enabled", "stringer": "stinger", "disable": "disabled", "true": "enabled", "off": "disabled", "sidecar": "", "": "", "netrs": "netra",
	} {
		got := suggest(meant(value), injectValues)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("suggest(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestWhatALaterWebhookAddsIsNotTakenForTheFirstContainer(t *testing.T) {
	pod := []byte(`{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"stinger"}},"spec":{"containers":[{"name":"web","command":["/web"]}]}}`)
	once := apply(t, pod, mustInject(t, pod, NamespaceInfo{}, testSettings()))
	twice := strings.Replace(string(once), `"containers":[`, `"containers":[{"name":"istio-proxy","command":["/proxy"]},`, 1)
	if r := mustInject(t, []byte(twice), NamespaceInfo{}, testSettings()); len(r.Patch) > 0 {
		t.Errorf("the patch is not empty: %v", r.Patch)
	}
}

// An annotation that comes with another webhook's change is honoured, and what
// is there already stays.
func TestReinvocationAddsWhatIsMissing(t *testing.T) {
	pod := []byte(`{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"enabled","formicarium.io/container":"web,late"}},"spec":{"containers":[{"name":"web","command":["/web"]}]}}`)
	once := apply(t, pod, mustInject(t, pod, NamespaceInfo{}, testSettings()))
	later := strings.Replace(string(once), `"containers":[`, `"containers":[{"name":"late","command":["/late"]},`, 1)
	r := mustInject(t, []byte(later), NamespaceInfo{}, testSettings())
	twice := apply(t, []byte(later), r)
	if len(r.Status.Stingers) != 2 || r.Status.Stingers[0] != (api.StingerEndpoint{Container: "web", Port: 24000}) || r.Status.Stingers[1] != (api.StingerEndpoint{Container: "late", Port: 24001}) {
		t.Errorf("stingers = %v", r.Status.Stingers)
	}
	for _, name := range []string{"netra-init", "netra", "stinger-install"} {
		if n := strings.Count(string(twice), `"name":"`+name+`"`); n != 1 {
			t.Errorf("%s is there %d times", name, n)
		}
	}
	if r := mustInject(t, twice, NamespaceInfo{}, testSettings()); len(r.Patch) > 0 {
		t.Errorf("a third patch is not empty: %v", r.Patch)
	}
}

func TestManyContainers(t *testing.T) {
	var containers, names []string
	for i := range 100 {
		name := "c" + strings.Repeat("x", i%50) + string(rune('a'+i/50))
		names = append(names, name)
		containers = append(containers, `{"name":"`+name+`","command":["/c"]}`)
	}
	pod := []byte(`{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"stinger","formicarium.io/container":"` + strings.Join(names, ",") + `"}},"spec":{"containers":[` + strings.Join(containers, ",") + `]}}`)
	r := mustInject(t, pod, NamespaceInfo{}, testSettings())
	if n := len(r.Status.Stingers); n != api.HubServicePort-api.StingerPort {
		t.Errorf("%d containers are supervised, want as many as there are ports below the hub's", n)
	}
	if r := mustInject(t, apply(t, pod, r), NamespaceInfo{}, testSettings()); len(r.Patch) > 0 {
		t.Errorf("the second patch is not empty: %d operations", len(r.Patch))
	}
}

func TestProtectedNamespaces(t *testing.T) {
	pod := []byte(`{"metadata":{"annotations":{"formicarium.io/inject":"enabled"}},"spec":{"containers":[{"name":"web","command":["/web"]}]}}`)
	for namespace, untouched := range map[string]bool{
		"kube-system": true, "kube-node-lease": true, "kube-": true, "fmc-system": true, "openshift-ingress": true, "istio-system": true,
		"kube": false, "fmc-system-2": false, "shop": false, "my-kube-system": false, "": false,
	} {
		r := mustInject(t, pod, NamespaceInfo{Name: namespace}, testSettings())
		if got := len(r.Patch) == 0; got != untouched {
			t.Errorf("namespace %q: untouched %v, want %v", namespace, got, untouched)
		}
		if untouched && (len(r.Reasons) == 0 || r.Reasons[0].Code != CodeSystemNamespace) {
			t.Errorf("namespace %q: the reasons are %v", namespace, r.Reasons)
		}
	}
}

// Ports and volumes are the pod's: whatever is in use is nobody's Stinger's.
func TestStingersDoNotMeet(t *testing.T) {
	const annotations = `"metadata":{"name":"web","annotations":{"formicarium.io/inject":"stinger","formicarium.io/container":"a,b"}}`
	for _, tt := range []struct{ containers, a, b string }{
		{`{"name":"a","command":["/a"]},{"name":"b","command":["/b"]}`, "24000", "24001"},
		{`{"name":"a","command":["/a"],"ports":[{"containerPort":24000}]},{"name":"b","command":["/b"]}`, "24001", "24002"},
		{`{"name":"a","command":["/a"],"ports":[{"containerPort":24000,"protocol":"UDP"}]},{"name":"b","command":["/b"]}`, "24000", "24001"},
		{`{"name":"a","command":["/a"]},{"name":"b","command":["/b"],"env":[{"name":"STINGER_PORT","value":"24000"}]}`, "24001", "24000"},
		{`{"name":"a","command":["/a"],"env":[{"name":"STINGER_PORT","value":"24000"}]},{"name":"b","command":["/b"],"env":[{"name":"STINGER_PORT","value":"24000"}]}`, "24000", ""},
		{`{"name":"a","command":["/a"],"ports":[{"containerPort":80}],"env":[{"name":"STINGER_PORT","value":"80"}]},{"name":"b","command":["/b"]}`, "", "24000"},
	} {
		r := mustInject(t, []byte(`{`+annotations+`,"spec":{"containers":[`+tt.containers+`]}}`), NamespaceInfo{}, testSettings())
		got := map[string]string{}
		for _, s := range r.Status.Stingers {
			got[s.Container] = strconv.Itoa(s.Port)
		}
		if got["a"] != tt.a || got["b"] != tt.b {
			t.Errorf("%s: ports %v, want %s and %s; %q", tt.containers, got, tt.a, tt.b, r.Warnings)
		}
	}
}

// A container whose command is found only when the pod is asked about again gets
// what is left.
func TestLaterStingerGetsPlacesOfItsOwn(t *testing.T) {
	pod := []byte(`{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"stinger","formicarium.io/container":"a,b"}},"spec":{"containers":[{"name":"a","image":"x"},{"name":"b","image":"y","command":["/b"]}]}}`)
	once := apply(t, pod, mustInject(t, pod, NamespaceInfo{}, testSettings()))
	s := testSettings()
	s.Images = map[string]ImageCommand{"x": {Entrypoint: []string{"/a"}}}
	r := mustInject(t, once, NamespaceInfo{}, s)
	var twice corev1.Pod
	if err := json.Unmarshal(apply(t, once, r), &twice); err != nil {
		t.Fatal(err)
	}
	ports, volumes := map[string]bool{}, map[string]int{}
	for _, c := range twice.Spec.Containers {
		port, _ := literal(c, api.EnvStingerPort)
		ports[port] = true
		for _, m := range c.VolumeMounts {
			volumes[m.Name]++
		}
	}
	if len(ports) != 2 || ports[""] {
		t.Errorf("the ports are %v", ports)
	}
	for name, n := range volumes {
		if want := map[bool]int{true: 2, false: 1}[name == volumeBin || name == volumeIdentity]; n != want {
			t.Errorf("volume %s is mounted %d times", name, n)
		}
	}
}

func TestWindowsByAffinity(t *testing.T) {
	const term = `{"matchExpressions":[{"key":"kubernetes.io/os","operator":"In","values":["%s"]}]}`
	for terms, windows := range map[string]bool{
		fmt.Sprintf(term, "windows"):                                                              true,
		fmt.Sprintf(term, "linux"):                                                                false,
		fmt.Sprintf(term, "windows") + "," + fmt.Sprintf(term, "linux"):                           false,
		fmt.Sprintf(term, "windows") + "," + fmt.Sprintf(term, "windows"):                         true,
		`{"matchExpressions":[{"key":"kubernetes.io/os","operator":"NotIn","values":["linux"]}]}`: false,
	} {
		pod := []byte(`{"metadata":{"annotations":{"formicarium.io/inject":"netra"}},"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[` + terms + `]}}},"containers":[{"name":"web"}]}}`)
		r := mustInject(t, pod, NamespaceInfo{}, testSettings())
		if got := r.Reasons[0].Code == CodeWindows; got != windows {
			t.Errorf("%s: %v, want for Windows: %v", terms, r.Reasons, windows)
		}
	}
}

// Who only asks what would be done takes images' commands as known.
func TestPreview(t *testing.T) {
	pod := []byte(`{"metadata":{"annotations":{"formicarium.io/inject":"stinger"}},"spec":{"containers":[{"name":"web","image":"nginx"}]}}`)
	if r := mustInject(t, pod, NamespaceInfo{}, Preview); !slices.Contains(r.Injected(), PartStinger) || len(r.Warnings) > 0 {
		t.Errorf("%v, %q", r.Reasons, r.Warnings)
	}
}

// A directory that no volume can be mounted at keeps Stinger out.
func TestOwnDirectoryIsChecked(t *testing.T) {
	for value, ok := range map[string]bool{"/srv": true, "/": false, "/fmc/state": false, "srv": false} {
		pod := fmt.Appendf(nil, `{"metadata":{"annotations":{"formicarium.io/inject":"stinger","formicarium.io/stinger-wait-for-code":"true"}},"spec":{"containers":[{"name":"web","command":["/web"],"env":[{"name":"APP_PATH","value":%q}]}]}}`, value)
		if r := mustInject(t, pod, NamespaceInfo{}, testSettings()); slices.Contains(r.Injected(), PartStinger) != ok {
			t.Errorf("APP_PATH=%s: %v, %q", value, r.Reasons, r.Warnings)
		}
	}
}
