package workload

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
)

// Template is the pod, or the pod template, of a workload.
type Template struct {
	// Kind, Name and Namespace are the workload's.
	Kind, Name, Namespace string
	// Path leads to the pod within the document; it is empty for a pod.
	Path []string
	// Pod has metadata and spec.
	Pod map[string]any
}

// Object is how kubectl names the workload: deployment/web.
func (t Template) Object() string {
	name := t.Name
	if name == "" {
		name = "(no name)"
	}
	return strings.ToLower(t.Kind) + "/" + name
}

// places are where the kinds of Kubernetes, and kinds that others made after
// their example, keep their pod template.
var places = [][]string{
	{"spec", "template"},
	{"spec", "jobTemplate", "spec", "template"}, // CronJob
	{"template"},                                // PodTemplate
}

// Templates returns the pod templates of an object: none, one, or those of a
// list's items.
func Templates(object map[string]any) []Template { return templates(object, nil) }

func templates(object map[string]any, at []string) []Template {
	kind, _ := object["kind"].(string)
	if items, ok := object["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		var found []Template
		for i, item := range items {
			if o, ok := item.(map[string]any); ok {
				found = append(found, templates(o, append(append([]string{}, at...), "items", strconv.Itoa(i)))...)
			}
		}
		return found
	}
	t := Template{Kind: kind}
	metadata, _ := object["metadata"].(map[string]any)
	t.Namespace, _ = metadata["namespace"].(string)
	if t.Name, _ = metadata["name"].(string); t.Name == "" {
		name, _ := metadata["generateName"].(string)
		t.Name = strings.TrimRight(name, "-")
	}
	if kind == "Pod" && object["apiVersion"] == "v1" {
		t.Path, t.Pod = at, object
		return []Template{t}
	}
	for _, place := range places {
		if pod, ok := member(object, place...).(map[string]any); ok && hasContainers(pod) {
			t.Path, t.Pod = append(append([]string{}, at...), place...), pod
			return []Template{t}
		}
	}
	return nil
}

func hasContainers(pod map[string]any) bool {
	list, _ := member(pod, "spec", "containers").([]any)
	for _, item := range list {
		if _, ok := item.(map[string]any); !ok {
			return false
		}
	}
	return len(list) > 0
}

func member(value any, path ...string) any {
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

// PodJSON returns the template as a pod that its workload would make. The
// workload's name is in generateName, where that of a Deployment's pods begins
// with it, too.
func (t Template) PodJSON() ([]byte, error) {
	if len(t.Path) == 0 && t.Kind == "Pod" {
		return json.Marshal(t.Pod)
	}
	metadata := map[string]any{}
	given, _ := t.Pod["metadata"].(map[string]any)
	for name, value := range given {
		metadata[name] = value
	}
	if metadata["generateName"] == nil && metadata["name"] == nil && t.Name != "" {
		metadata["generateName"] = t.Name + "-"
	}
	return json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": t.Pod["spec"]})
}

// json returns the template as it stands in its document.
func (t Template) json() ([]byte, error) { return json.Marshal(t.Pod) }

// decode returns the value of a JSON text, in which numbers stay as they were
// written.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the end of the object")
	}
	return value, nil
}
