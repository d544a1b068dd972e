package workload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/webhook/inject"
	kyaml "sigs.k8s.io/yaml"
)

func manual() *inject.Settings {
	s := &inject.Settings{Version: "v1", NetraImage: "r/netra:1", NetraInitImage: "r/netra-init:1", StingerImage: "r/stinger:1", HubURL: "http://hub", NativeSidecar: true}
	s.NetraResources, s.InitResources = inject.DefaultResources()
	return s
}

// The webhook's own pods, in each kind of manifest: what is written out in full
// and taken out again is what it was.
func TestManualAndBack(t *testing.T) {
	paths, err := filepath.Glob("../../webhook/inject/testdata/*.in.yaml")
	if err != nil || len(paths) < 60 {
		t.Fatalf("finding the webhook's pods: %v, %d files", err, len(paths))
	}
	changed := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []File{{Name: "pod", Data: text}, {Name: "deployment", Data: wrapped(t, text)}} {
			once, changes, err := Inject([]File{f}, Options{Value: "enabled", Manual: manual()})
			if err != nil {
				t.Fatalf("%s, %s: %v", path, f.Name, err)
			}
			if len(changes) != 1 {
				t.Fatalf("%s, %s: %d workloads", path, f.Name, len(changes))
			}
			if !changes[0].Changed {
				if !bytes.Equal(once, f.Data) {
					t.Errorf("%s, %s: unchanged, but not the same bytes", path, f.Name)
				}
				continue
			}
			changed++
			twice, _, err := Inject([]File{{Name: "once", Data: once}}, Options{Value: "enabled", Manual: manual()})
			if err != nil || !bytes.Equal(once, twice) {
				t.Errorf("%s, %s: injecting again changes it, %v", path, f.Name, err)
			}
			back, _, err := Uninject([]File{{Name: "once", Data: once}})
			if err != nil {
				t.Fatalf("%s, %s: %v", path, f.Name, err)
			}
			if want := asked(t, f.Data); !reflect.DeepEqual(asked(t, back), want) {
				t.Errorf("%s, %s: what comes back differs:\n%s\nfrom\n%s", path, f.Name, back, f.Data)
			}
		}
	}
	if changed < 60 {
		t.Errorf("only %d manifests were injected", changed)
	}
}

// wrapped makes a Deployment's manifest of a pod's.
func wrapped(t *testing.T, pod []byte) []byte {
	t.Helper()
	text, err := kyaml.YAMLToJSON(pod)
	if err != nil {
		t.Fatal(err)
	}
	deployment := fmt.Sprintf(`{"kind":"Deployment","metadata":{"name":"w"},"spec":{"template":%s}}`, text)
	if text, err = kyaml.JSONToYAML([]byte(deployment)); err != nil {
		t.Fatal(err)
	}
	return text
}

// asked returns the values of a manifest without the annotation that asks,
// which uninject takes away from all.
func asked(t *testing.T, manifest []byte) any {
	t.Helper()
	text, err := kyaml.YAMLToJSON(manifest)
	if err != nil {
		t.Fatal(err)
	}
	value, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	object, _ := value.(map[string]any)
	for _, found := range Templates(object) {
		json, err := json.Marshal(found.Pod)
		if err != nil {
			t.Fatal(err)
		}
		patch, err := inject.Unask(json)
		if err != nil {
			t.Fatal(err)
		}
		for i := range patch {
			patch[i].Path = pointer(found.Path) + patch[i].Path
		}
		if text, err = apply(text, patch); err != nil {
			t.Fatal(err)
		}
	}
	if value, err = decode(text); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestTemplatesOfAllKinds(t *testing.T) {
	const pod = `{"spec":{"containers":[{"name":"a"}]}}`
	for text, want := range map[string]string{
		`{"kind":"Pod","apiVersion":"v1","metadata":{"generateName":"a-"},"spec":{}}`:                        "pod/a ",
		`{"kind":"Pod","apiVersion":"other/v1"}`:                                                             "",
		`{"kind":"ReplicaSet","metadata":{"name":"a"},"spec":{"template":` + pod + `}}`:                      "replicaset/a /spec/template",
		`{"kind":"CronJob","spec":{"jobTemplate":{"spec":{"template":` + pod + `}}}}`:                        "cronjob/(no name) /spec/jobTemplate/spec/template",
		`{"kind":"PodTemplate","template":` + pod + `}`:                                                      "podtemplate/(no name) /template",
		`{"kind":"Service","metadata":{"name":"hello"},"spec":{"template":` + pod + `}}`:                     "service/hello /spec/template",
		`{"kind":"Certificate","spec":{"template":{"spec":{"containers":[]}}}}`:                              "",
		`{"kind":"X","spec":{"template":{"spec":{"containers":["a"]}}}}`:                                     "",
		`{"kind":"PodList","items":[{"kind":"Pod","apiVersion":"v1","metadata":{"name":"b"}},null,"x"]}`:     "pod/b /items/0",
		`{"kind":"Chain","items":[{"kind":"Pod","apiVersion":"v1"}]}`:                                        "",
		`{"kind":"List","items":[{"kind":"List","items":[{"kind":"Job","spec":{"template":` + pod + `}}]}]}`: "job/(no name) /items/0/items/0/spec/template",
	} {
		value, err := decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		object, _ := value.(map[string]any)
		got := ""
		for _, f := range Templates(object) {
			got += f.Object() + " " + pointer(f.Path)
		}
		if got != want {
			t.Errorf("templates of %s are %q, want %q", text, got, want)
		}
	}
}

func TestStyleIsKept(t *testing.T) {
	for _, text := range []string{
		"kind: Job\nspec:\n  template:\n    spec:\n      containers:\n      - name: a\n        command:\n        - x\n",
		"kind: Job\nspec:\n  template:\n    spec:\n      containers:\n        - name: a\n          command:\n            - x\n",
		"kind: Job\nspec:\n    template:\n        spec:\n            containers: [{name: a}] # one\n",
		"# first\n\nkind: Job # what\nspec:\n  template:\n    spec:\n      # all\n      containers:\n      - name: \"a\"\n        args: ['yes', \"1\"]\n      # last\n",
	} {
		out, _, err := Inject([]File{{Name: "x", Data: []byte(text)}}, Options{Value: "netra"})
		if err != nil {
			t.Fatal(err)
		}
		var rest []string
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "annotations:") && !strings.Contains(line, "formicarium.io/inject") && !strings.HasSuffix(line, "metadata:\n") {
				rest = append(rest, line)
			}
		}
		if got := strings.Join(rest, ""); got != text || len(out) == len(text) {
			t.Errorf("beside what was added there is\n%s\nwant\n%s", got, text)
		}
	}
}

// What is changed where an alias stands is changed there alone, and the comments
// stay.
func TestAliasIsCopied(t *testing.T) {
	text := "kind: Job\nmetadata: &m\n  labels: &l {a: b} # both\n  name: a\nspec:\n  template:\n    metadata: *m\n    spec:\n      containers:\n        - name: a # one\n"
	out, _, err := Inject([]File{{Name: "x", Data: []byte(text)}}, Options{Value: "netra"})
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]int{"# one": 1, "&m": 1, "*m": 0, "formicarium.io/inject": 1, "name: a": 3} {
		if got := strings.Count(string(out), part); got != want {
			t.Errorf("%q is there %d times, want %d:\n%s", part, got, want, out)
		}
	}
	if before, _, _ := strings.Cut(string(out), "\nspec:"); strings.Contains(before, "inject") {
		t.Errorf("the anchor was changed:\n%s", out)
	}
}

// FuzzInject looks for manifests that stop the program, that are changed where
// there is nothing to change, or become something else than was meant.
func FuzzInject(f *testing.F) {
	for _, text := range []string{
		"kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: [{name: a}]}\n---\n---\nx: 1\n...\n",
		"--- {kind: Job, spec: {template: {spec: {containers: [{name: a}]}}}}\n",
		"\xef\xbb\xbfa: &x {b: 1}\nc: *x\n<<: *x\n", "{\"kind\": \"List\", \"items\": []}", "--- # c\r\na: b\r\n", "---", "",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file := File{Name: "x", Data: text}
		if got := join([][]*document{split(file)}); !bytes.Equal(got, text) {
			t.Fatalf("split and joined, %q is %q", text, got)
		}
		once, changes, err := Inject([]File{file}, Options{Value: "netra"})
		if err != nil {
			return
		}
		changed := false
		for _, c := range changes {
			changed = changed || c.Changed
		}
		if !changed && !bytes.Equal(once, text) {
			t.Fatalf("nothing is changed, and %q became %q", text, once)
		}
		again, changes, err := Inject([]File{{Name: "once", Data: once}}, Options{Value: "netra"})
		if err != nil || !bytes.Equal(once, again) {
			t.Fatalf("injecting again: %v\n%q\n%q, %v", err, once, again, changes)
		}
	})
}
