package definition

import (
	"encoding/json"
	"fmt"
	"slices"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/formicarium/formicarium/internal/api"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// PatchKinds are the kinds of object that a definition may patch.
var PatchKinds = []string{"Deployment", "Service", "ConfigMap"}

// patches decodes {kind, patch}, where patch is one operation or a list.
func (d *decoder) patches(n *yaml.Node, path string) []Patch {
	var kind string
	var found []Patch
	d.mapping(n, path, fields{
		"kind": func(n *yaml.Node, path string) {
			kind = d.text(n, path)
			if kind != "Ingress" {
				d.oneOf(n, path, PatchKinds...)
			}
		},
		"patch": func(n *yaml.Node, path string) {
			if n.Kind == yaml.SequenceNode {
				d.items(n, path, func(n *yaml.Node, path string) { found = append(found, Patch{Operation: d.operation(n, path)}) })
				return
			}
			found = append(found, Patch{Operation: d.operation(n, path)})
		},
	})
	if kind == "" || len(found) == 0 {
		d.fault(n, path, "want {kind: Deployment, patch: {op: add, path: /…, value: …}}")
	}
	if kind == "Ingress" {
		d.warn(n, path, "left out: a devspace has no Ingress, since nothing of it is reachable from outside the cluster")
		return nil
	}
	for i := range found {
		found[i].Kind = kind
	}
	return found
}

// operation decodes one RFC 6902 operation to JSON.
func (d *decoder) operation(n *yaml.Node, path string) []byte {
	operation := map[string]any{}
	d.mapping(n, path, fields{
		"op": func(n *yaml.Node, path string) {
			operation["op"] = d.oneOf(n, path, "add", "remove", "replace", "move", "copy", "test")
		},
		"path": func(n *yaml.Node, path string) { operation["path"] = d.text(n, path) },
		"from": func(n *yaml.Node, path string) { operation["from"] = d.text(n, path) },
		"value": func(n *yaml.Node, path string) {
			d.interpolateAll(n, path)
			var value any
			if err := n.Decode(&value); err != nil {
				d.fault(n, path, "%v", err)
			}
			operation["value"] = value
		},
	})
	for _, key := range []string{"op", "path"} {
		if operation[key] == nil {
			d.fault(n, path, "%s is missing", key)
		}
	}
	if op, _ := operation["op"].(string); slices.Contains([]string{"add", "replace", "test"}, op) {
		if _, ok := operation["value"]; !ok {
			d.fault(n, path, "value is missing")
		}
	}
	text, err := json.Marshal(operation)
	if err != nil {
		d.fault(n, path, "%v", err)
	}
	return text
}

// interpolateAll replaces variables in every string below n.
func (d *decoder) interpolateAll(n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.Value = d.text(n, path)
		return
	}
	if n.Kind == yaml.AliasNode {
		return // what it stands for is replaced where it stands
	}
	for _, child := range n.Content {
		d.interpolateAll(child, path)
	}
}

// patch applies the service's patches to object.
func (s *Service) patch(object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	var operations []json.RawMessage
	for _, p := range s.Patches {
		if p.Kind == object.GetKind() {
			operations = append(operations, p.Operation)
		}
	}
	if len(operations) == 0 {
		return object, nil
	}
	text, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("encoding patches of %s: %w", object.GetKind(), err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, fmt.Errorf("decoding patches of %s: %w", object.GetKind(), err)
	}
	before, err := object.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", object.GetKind(), err)
	}
	after, err := patch.Apply(before)
	if err != nil {
		return nil, fmt.Errorf("patching %s of service %s: %w", object.GetKind(), s.Name, err)
	}
	patched := &unstructured.Unstructured{}
	if err := patched.UnmarshalJSON(after); err != nil {
		return nil, fmt.Errorf("reading the patched %s of service %s: %w", object.GetKind(), s.Name, err)
	}
	if patched.GetName() != object.GetName() || patched.GetNamespace() != object.GetNamespace() || patched.GetKind() != object.GetKind() {
		return nil, fmt.Errorf("patching %s of service %s: a patch may not change kind, name or namespace", object.GetKind(), s.Name)
	}
	return patched, keepLabels(patched, object)
}

// keepLabels gives a patched object back the labels by which the plugin finds
// what it made: a patch that adds labels as a whole takes the place of them all.
func keepLabels(patched, before *unstructured.Unstructured) error {
	for _, metadata := range [][]string{{"metadata"}, {"spec", "template", "metadata"}} {
		path := append(slices.Clone(metadata), "labels")
		had, _, err := unstructured.NestedStringMap(before.Object, path...)
		if err != nil || had == nil {
			continue // a kind without such a template
		}
		for _, name := range []string{api.LabelManagedBy, api.LabelDevspace, api.LabelService} {
			if had[name] == "" {
				continue
			}
			if err := unstructured.SetNestedField(patched.Object, had[name], append(slices.Clone(path), name)...); err != nil {
				return fmt.Errorf("patching %s: its labels: %w", before.GetKind(), err)
			}
		}
	}
	return nil
}
