package inject

import (
	"encoding/json"
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
