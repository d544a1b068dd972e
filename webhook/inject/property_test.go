package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/formicarium/formicarium/internal/api"
)

// properties checks what holds for every pod, and returns what was injected.
func properties(t testing.TB, pod []byte, ns NamespaceInfo, s Settings) []string {
	t.Helper()
	first := mustInject(t, pod, ns, s)
	once := apply(t, pod, first)
	if again := mustInject(t, once, ns, s); len(again.Patch) > 0 {
		t.Fatalf("injecting again changes %v in\n%s", again.Patch, once)
	}
	undo, err := Uninject(once)
	if err != nil {
		t.Fatalf("%v\n%s", err, once)
	}
	back := apply(t, once, Result{Patch: undo})
	if !sameJSON(t, pod, back) {
		t.Fatalf("what comes back differs:\n%s\n%s\nfrom\n%s", pod, back, once)
	}
	if more, err := Uninject(back); err != nil || len(more) > 0 {
		t.Fatalf("taking out again changes %v, %v", more, err)
	}
	// The document that the patch was made on, and what the patch makes of the
	// pod, are the same.
	if doc, err := parse(once); err != nil || len(first.Patch) > 0 && !equalJSON(t, doc.root, after(t, pod, first.Patch)) {
		t.Fatalf("the patch does not fit, %v", err)
	}
	return first.Injected()
}

// after applies the patch by the library and version with which the API
// server's admission applies a webhook's.
func after(t testing.TB, pod []byte, operations []Operation) any {
	t.Helper()
	text, err := json.Marshal(operations)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply(pod)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := parse(patched)
	if err != nil {
		t.Fatal(err)
	}
	return doc.root
}

// sameJSON reports whether two texts hold the same values; a missing member and
// one that is null or empty are different.
func sameJSON(t testing.TB, a, b []byte) bool {
	t.Helper()
	x, err := parse(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x.root, y.root)
}

func TestPropertiesOfTestdata(t *testing.T) {
	inputs(t, func(name string, pod []byte, ns NamespaceInfo, s Settings) {
		t.Run(name, func(t *testing.T) {
			properties(t, pod, ns, s)
			// In other surroundings, too.
			for _, other := range []NamespaceInfo{{Name: "shop", Inject: "enabled"}, {Name: "shop", EnforceLevel: "restricted"}} {
				for _, s.NativeSidecar = range []bool{true, false} {
					properties(t, pod, other, s)
				}
			}
		})
	})
}

func TestPropertiesOfGeneratedPods(t *testing.T) {
	injected := map[int]int{}
	for seed := range uint64(800) {
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		pod, err := json.Marshal(g.pod())
		if err != nil {
			t.Fatal(err)
		}
		s := testSettings()
		s.NativeSidecar = g.IntN(4) > 0
		if g.IntN(4) > 0 {
			s.Images = map[string]ImageCommand{"x": {Entrypoint: []string{"/entrypoint"}}}
		}
		ns := NamespaceInfo{Name: "shop", Inject: pick(g, "", "enabled"), EnforceLevel: pick(g, "", "", "restricted")}
		injected[len(properties(t, pod, ns, s))]++
	}
	// Else the generator makes pods with which nothing happens.
	if injected[1] < 150 || injected[2] < 25 {
		t.Errorf("pods by how many parts were injected: %v", injected)
	}
}

// generator makes pods of all that a pod may have, in all the ways in which it
// may be there: missing, null, empty, or with something in it.
type generator struct{ *rand.Rand }

func pick[T any](g generator, values ...T) T { return values[g.IntN(len(values))] }

// maybe sets a member to the value, to null, to an empty one, or not at all.
func (g generator) maybe(object map[string]any, name string, empty, value any) {
	switch g.IntN(8) {
	case 0:
		object[name] = nil
	case 1:
		object[name] = empty
	case 2, 3, 4, 5:
		object[name] = value
	}
}

func (g generator) pod() map[string]any {
	annotations := map[string]any{api.AnnotationInject: pick(g, "enabled", "netra", "stinger", "enabled", "disabled", "ture"), "note": "line\r\nline <&> ü"}
	if g.IntN(3) == 0 {
		annotations[api.AnnotationContainer] = pick(g, "a", "a,b", "b, none", ",")
	}
	if g.IntN(4) == 0 {
		annotations[api.Domain+"/"+pick(g, names()...)] = pick(g, "8080", "true", "5s", "/work", "x y", "http://hub:1/a.git")
		delete(annotations, api.AnnotationStatus)
	}
	labels := map[string]any{"app": "x"}
	if g.IntN(4) == 0 {
		labels[pick(g, api.LabelService, api.LabelName)] = pick(g, "orders", "Web Shop", "")
	}
	metadata := map[string]any{"creationTimestamp": nil, "newMetadata": []any{1, "2", 3.50}}
	if g.maybe(metadata, "annotations", map[string]any{}, annotations); g.IntN(4) > 0 {
		metadata["annotations"] = annotations // the others are not injected
	}
	g.maybe(metadata, "labels", map[string]any{}, labels)
	metadata[pick(g, "name", "generateName")] = pick(g, "web", "web-", strings.Repeat("n", 80))
	spec := map[string]any{"containers": g.containers("a", "b", "c"), "newSpec": map[string]any{"a": nil}}
	g.maybe(spec, "initContainers", []any{}, g.containers("migrate", "warm"))
	g.maybe(spec, "volumes", []any{}, []any{
		map[string]any{"name": "data", "persistentVolumeClaim": map[string]any{"claimName": "data"}},
		map[string]any{"name": pick(g, "fmc-app", "fmc-bin", "fmc-identity", "tmp"), pick(g, "emptyDir", "hostPath"): map[string]any{}},
	})
	if g.IntN(10) == 0 {
		spec[pick(g, "hostNetwork", "hostPID", "shareProcessNamespace")] = true
	}
	g.maybe(spec, "securityContext", map[string]any{}, map[string]any{"runAsUser": pick(g, 0, 1000, 1337, 1001230000), "fsGroup": 7})
	pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
	if g.IntN(50) == 0 {
		delete(pod, "metadata")
	}
	return pod
}

func (g generator) containers(names ...string) []any {
	var list []any
	for _, name := range names[:1+g.IntN(len(names))] {
		c := map[string]any{"name": name, "image": "x", "newContainer": map[string]any{"depth": []any{map[string]any{}}}}
		g.maybe(c, "command", []any{}, []any{pick(g, "/app", "sh"), "-c", "exec <\"x\"> && y"})
		g.maybe(c, "args", []any{}, []any{"--a", "\u2028"})
		g.maybe(c, "env", []any{}, g.environment())
		g.maybe(c, "volumeMounts", []any{}, []any{map[string]any{"name": "data", "mountPath": pick(g, "/data", "/app", "/app/", "/fmc/state", "/fmc/bin", "/fmc/identity"), "readOnly": g.IntN(2) == 0}})
		g.maybe(c, "ports", []any{}, []any{map[string]any{"containerPort": pick(g, 80, 8080, 14956, 24000)}})
		probe := map[string]any{pick(g, "httpGet", "tcpSocket", "grpc"): map[string]any{"port": pick(g, 80, 8080, 24000)}, "periodSeconds": 3}
		g.maybe(c, pick(g, "readinessProbe", "livenessProbe", "startupProbe"), map[string]any{}, probe)
		if g.IntN(5) == 0 {
			c["lifecycle"] = map[string]any{pick(g, "preStop", "postStart"): map[string]any{pick(g, "httpGet", "tcpSocket"): map[string]any{"port": 80}}}
		}
		list = append(list, c)
	}
	return list
}

func (g generator) environment() []any {
	var list []any
	for range 1 + g.IntN(3) {
		// The same name twice is allowed.
		v := map[string]any{"name": pick(g, "A", "B", "GIT_URL", "APP_PATH", "STINGER_PORT"), "value": pick(g, "1", "", "/srv", "24000")}
		if g.IntN(5) == 0 {
			delete(v, "value")
			v["valueFrom"] = map[string]any{"newSource": map[string]any{}}
		}
		list = append(list, v)
	}
	return list
}

// Others may add to a pod between injection and its end.
func TestUninjectLeavesWhatOthersAdded(t *testing.T) {
	pod := []byte(`{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"enabled"}},"spec":{"containers":[{"name":"web","command":["/web"],"args":["-v"]}]}}`)
	once := apply(t, pod, mustInject(t, pod, NamespaceInfo{}, testSettings()))
	theirs := string(once)
	for old, changed := range map[string]string{
		`"containers":[`:     `"containers":[{"name":"mesh"},`,
		`"initContainers":[`: `"initContainers":[{"name":"mesh-init"},`,
		`"volumes":[`:        `"volumes":[{"name":"token"},`,
		`"labels":{`:         `"labels":{"mesh":"on",`,
		`"volumeMounts":[{"mountPath":"/fmc/bin","name":"fmc-bin","readOnly":true}`: `"volumeMounts":[{"mountPath":"/token","name":"token"},{"mountPath":"/fmc/bin","name":"fmc-bin","readOnly":true}`,
	} {
		theirs = strings.Replace(theirs, old, changed, 1)
	}
	undo, err := Uninject([]byte(theirs))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"metadata":{"name":"web","labels":{"mesh":"on"},"annotations":{"formicarium.io/inject":"enabled"}},"spec":{
		"containers":[{"name":"mesh"},{"name":"web","command":["/web"],"args":["-v"],"volumeMounts":[{"mountPath":"/token","name":"token"}]}],
		"initContainers":[{"name":"mesh-init"}],"volumes":[{"name":"token"}]}}`
	if got := apply(t, []byte(theirs), Result{Patch: undo}); !sameJSON(t, got, []byte(want)) {
		t.Errorf("left is\n%s\nwant\n%s", got, want)
	}
}

// A second injection that adds to the first is undone together with it.
func TestUninjectAfterReinvocation(t *testing.T) {
	pod := []byte(`{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"enabled","formicarium.io/container":"web,late"}},"spec":{"containers":[{"name":"web","command":["/web"]}]}}`)
	once := apply(t, pod, mustInject(t, pod, NamespaceInfo{}, testSettings()))
	later := []byte(strings.Replace(string(once), `"containers":[`, `"containers":[{"name":"late","command":["/late"]},`, 1))
	twice := apply(t, later, mustInject(t, later, NamespaceInfo{}, testSettings()))
	undo, err := Uninject(twice)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(string(pod), `"containers":[`, `"containers":[{"name":"late","command":["/late"]},`, 1)
	if got := apply(t, twice, Result{Patch: undo}); !sameJSON(t, got, []byte(want)) {
		t.Errorf("left is\n%s\nwant\n%s", got, want)
	}
}

func TestUninjectSaysWhatItCannotUndo(t *testing.T) {
	many, err := json.Marshal(map[string]any{"version": "v1", "undo": map[string]any{"made": make([]string, maxUndoEntries+1)}})
	if err != nil {
		t.Fatal(err)
	}
	for status, part := range map[string]string{
		`{`:                                     "did not write so",
		`{"version":"v0","injected":["netra"]}`: `version "v0" does not say`,
		string(many):                            "more entries",
	} {
		pod := fmt.Appendf(nil, `{"metadata":{"annotations":{"formicarium.io/status":%q}}}`, status)
		if _, err := Uninject(pod); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("status %.40s: %v, want an error with %q", status, err, part)
		}
	}
	if _, err := Uninject([]byte(`[]`)); err == nil {
		t.Error("a list is taken for a pod")
	}
	if patch, err := Uninject([]byte(`{"metadata":{"name":"x"}}`)); err != nil || len(patch) > 0 {
		t.Errorf("a pod without a status: %v, %v", patch, err)
	}
}

// A record that would not fit into an annotation is left out, with a warning.
func TestRecordIsBounded(t *testing.T) {
	pod := fmt.Appendf(nil, `{"metadata":{"name":"x","annotations":{"formicarium.io/inject":"stinger","formicarium.io/stinger-wait-for-code":"true"}},"spec":{"containers":[{"name":"x","args":[%q]}]}}`, strings.Repeat("a", maxUndoBytes+1))
	r := mustInject(t, pod, NamespaceInfo{}, testSettings())
	if r.Status.Undo != nil || !strings.Contains(strings.Join(r.Warnings, "\n"), "too large to be kept") {
		t.Errorf("the record is %v, the warnings are %q", r.Status.Undo != nil, r.Warnings)
	}
	once := apply(t, pod, r)
	if again := mustInject(t, once, NamespaceInfo{}, testSettings()); len(again.Patch) > 0 {
		t.Errorf("injecting again changes %v", again.Patch)
	}
	if _, err := Uninject(once); err == nil {
		t.Error("what is not known was put back")
	}
}

// FuzzUninject looks for status annotations that stop the program.
func FuzzUninject(f *testing.F) {
	inputs(f, func(_ string, pod []byte, ns NamespaceInfo, s Settings) {
		r, err := Inject(pod, ns, s)
		if err != nil {
			f.Fatal(err)
		}
		if text, err := json.Marshal(r.Status); err == nil {
			f.Add(pod, string(text))
		}
	})
	f.Add([]byte(`{"metadata":{},"spec":{"a":[{"name":"b"}]}}`), `{"undo":{"added":{"/spec/a":["b",""],"":["metadata"]},"made":["","/","/spec/a/b"],"was":{"":1,"/x/y":2,"/spec/a":null}}}`)
	f.Fuzz(func(t *testing.T, pod []byte, status string) {
		doc, err := parse(pod)
		if err != nil {
			return
		}
		doc.put(status, "metadata", "annotations", api.AnnotationStatus)
		text, err := json.Marshal(doc.root)
		if err != nil {
			t.Fatal(err)
		}
		if undo, err := Uninject(text); err == nil && !bytes.Contains(text, []byte(`-0`)) {
			apply(t, text, Result{Patch: undo})
		}
	})
}

// As many supervised containers as there are ports, and lists that are longer
// than any that is looked through.
func TestUndoOfLargePods(t *testing.T) {
	var containers, names, volumes []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("c%d", i))
		containers = append(containers, fmt.Sprintf(`{"name":"c%d","command":["/c"]}`, i))
	}
	for i := range maxUndoItems + 1 {
		volumes = append(volumes, fmt.Sprintf(`{"name":"v%d"}`, i))
	}
	head := `{"metadata":{"name":"x","annotations":{"formicarium.io/inject":"enabled","formicarium.io/container":"` + strings.Join(names, ",") + `"}},"spec":{"containers":[` + strings.Join(containers, ",") + `]`
	for _, pod := range []string{head + `}}`, head + `,"volumes":[` + strings.Join(volumes, ",") + `]}}`} {
		r := mustInject(t, []byte(pod), NamespaceInfo{}, testSettings())
		if r.Status.Undo == nil {
			t.Fatalf("there is no record: %q", r.Warnings)
		}
		once := apply(t, []byte(pod), r)
		undo, err := Uninject(once)
		if err != nil {
			t.Fatal(err)
		}
		if back := apply(t, once, Result{Patch: undo}); !sameJSON(t, []byte(pod), back) {
			t.Errorf("what comes back of %d bytes has %d", len(pod), len(back))
		}
	}
}
