// Package workload finds the pod templates in manifests and makes them ask for
// injection, or injects into them, without a cluster.
//
//	out, changes, err := workload.Inject(files, workload.Options{Value: "netra"})
//	out, changes, err = workload.Uninject(files)
//
// A template is found by its place, not by its kind, so that workloads of
// operators are found too. Documents that are not changed, and what stands
// between documents, pass byte for byte.
//
// What is injected is decided by the library that the webhook uses.
package workload

import (
	"fmt"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/webhook/inject"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

// Options say how to inject.
type Options struct {
	// Value is what a template that does not ask yet is to ask for; Replace
	// is to change what others ask for, too.
	Value   string
	Replace bool
	// Manual, where set, are the settings to write out in full what the
	// webhook would add.
	Manual *inject.Settings
	// Namespace is that of objects which name none.
	Namespace string
}

// Change says what became of one workload.
type Change struct {
	Object string
	// Text says it to people.
	Text     string
	Changed  bool
	Warnings []string
}

// Inject returns the files as one text, in which the workloads ask for
// injection or are injected.
func Inject(files []File, o Options) ([]byte, []Change, error) {
	namespaces := map[string]map[string]string{}
	return rewrite(files, func(documents []*document) {
		for _, d := range documents {
			noteNamespaces(d.object, namespaces)
		}
	}, func(t Template) ([]inject.Operation, Change, error) {
		if t.Namespace == "" {
			t.Namespace = o.Namespace
		}
		return o.inject(t, inject.NamespaceFrom(t.Namespace, namespaces[t.Namespace]))
	})
}

// Uninject is the reverse of Inject.
func Uninject(files []File) ([]byte, []Change, error) {
	return rewrite(files, func([]*document) {}, uninject)
}

// rewrite parses all files, lets look see their documents, and replaces each
// template by what change makes of it.
func rewrite(files []File, look func([]*document), change func(Template) ([]inject.Operation, Change, error)) ([]byte, []Change, error) {
	var all [][]*document
	for _, f := range files {
		documents := split(f)
		for _, d := range documents {
			if err := d.parse(); err != nil {
				return nil, nil, err
			}
		}
		look(documents)
		all = append(all, documents)
	}
	var changes []Change
	for _, d := range slices.Concat(all...) {
		var operations []inject.Operation
		for _, t := range Templates(d.object) {
			found, c, err := change(t)
			c.Object = t.Object()
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %s: %w", d.place, c.Object, err)
			}
			c.Changed = len(found) > 0
			changes = append(changes, c)
			for _, op := range found {
				op.Path = pointer(t.Path) + op.Path
				operations = append(operations, op)
			}
		}
		if len(operations) > 0 {
			if err := d.edit(operations); err != nil {
				return nil, nil, err
			}
		}
	}
	return join(all), changes, nil
}

func pointer(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return "/" + strings.Join(path, "/") // none of the names needs escaping
}

// noteNamespaces keeps the labels of the namespaces among the documents.
func noteNamespaces(object map[string]any, labels map[string]map[string]string) {
	if items, ok := object["items"].([]any); ok {
		for _, item := range items {
			if o, ok := item.(map[string]any); ok {
				noteNamespaces(o, labels)
			}
		}
	}
	name, _ := member(object, "metadata", "name").(string)
	if object["kind"] != "Namespace" || name == "" {
		return
	}
	labels[name] = map[string]string{}
	given, _ := member(object, "metadata", "labels").(map[string]any)
	for key, value := range given {
		if text, ok := value.(string); ok {
			labels[name][key] = text
		}
	}
}

// inject returns what is to be changed. What an earlier run wrote out is taken
// out first: its images and settings may have been others.
func (o Options) inject(t Template, ns inject.NamespaceInfo) ([]inject.Operation, Change, error) {
	if o.Manual == nil || member(t.Pod, "metadata", "annotations", api.AnnotationStatus) == nil {
		return o.injectNew(t, ns)
	}
	before, err := t.json()
	if err != nil {
		return nil, Change{}, err
	}
	between, undo, err := takeOut(before)
	if err != nil {
		return nil, Change{}, err
	}
	value, err := decode(between)
	if err != nil {
		return nil, Change{}, err
	}
	t.Pod, _ = value.(map[string]any)
	operations, c, err := o.injectNew(t, ns)
	if err != nil {
		return nil, Change{}, err
	}
	after, err := apply(between, operations)
	if err != nil {
		return nil, Change{}, err
	}
	if jsonpatch.Equal(before, after) {
		if strings.HasSuffix(c.Text, " injected") {
			c.Text += " already"
		}
		return nil, c, nil
	}
	return append(undo, operations...), c, nil
}

func (o Options) injectNew(t Template, ns inject.NamespaceInfo) ([]inject.Operation, Change, error) {
	ask, value, err := o.ask(t)
	if err != nil {
		return nil, Change{}, err
	}
	if value == api.InjectDisabled {
		return ask, Change{Text: "says " + api.AnnotationInject + ": " + value}, nil
	}
	result, err := preview(t, ask, ns, o.Manual)
	if err != nil {
		return nil, Change{}, err
	}
	c := Change{Warnings: result.Warnings}
	if len(result.Injected()) == 0 {
		c.Text = "left as it is: " + refusals(result)
		c.Warnings = nil // they say the same
		return nil, c, nil
	}
	if o.Manual != nil {
		c.Text = strings.Join(result.Injected(), " and ") + " injected"
		return append(ask, result.Patch...), c, nil
	}
	c.Text = "asks for it: " + api.AnnotationInject + ": " + value
	if len(ask) == 0 {
		c.Text = "asks for it already: " + api.AnnotationInject + ": " + value
	}
	return ask, c, nil
}

// ask returns the patch by which the template asks, and what it asks for then.
func (o Options) ask(t Template) ([]inject.Operation, string, error) {
	own, there := member(t.Pod, "metadata", "annotations", api.AnnotationInject).(string)
	if there && !o.Replace {
		return nil, own, nil
	}
	text, err := t.json()
	if err != nil {
		return nil, "", err
	}
	operations, err := inject.Ask(text, o.Value)
	return operations, o.Value, err
}

// preview returns what the webhook would do with the template once it asks.
func preview(t Template, ask []inject.Operation, ns inject.NamespaceInfo, manual *inject.Settings) (inject.Result, error) {
	settings := inject.Preview
	if manual != nil {
		settings = *manual
	}
	text, err := t.json()
	if err != nil {
		return inject.Result{}, err
	}
	if text, err = apply(text, ask); err != nil {
		return inject.Result{}, fmt.Errorf("annotating: %w", err)
	}
	value, err := decode(text)
	if err != nil {
		return inject.Result{}, err
	}
	t.Pod, _ = value.(map[string]any)
	if text, err = t.PodJSON(); err != nil {
		return inject.Result{}, err
	}
	return inject.Inject(text, ns, settings)
}

func refusals(r inject.Result) string {
	var texts []string
	for _, reason := range r.Reasons {
		text := reason.Text
		if reason.Part != "" {
			text = reason.Part + ": " + text
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

func uninject(t Template) ([]inject.Operation, Change, error) {
	text, err := t.json()
	if err != nil {
		return nil, Change{}, err
	}
	text, operations, err := takeOut(text)
	if err != nil {
		return nil, Change{}, err
	}
	unask, err := inject.Unask(text)
	if err != nil {
		return nil, Change{}, err
	}
	c := Change{Text: "not injected"}
	switch {
	case len(operations) > 0:
		c.Text = "injection taken out"
	case len(unask) > 0:
		c.Text = "does not ask any more"
	}
	return append(operations, unask...), c, nil
}

// UninjectPod returns the pod as it was before injection.
func UninjectPod(podJSON []byte) ([]byte, error) {
	pod, _, err := takeOut(podJSON)
	return pod, err
}

// takeOut returns the pod without its injection, and what takes that out.
func takeOut(pod []byte) ([]byte, []inject.Operation, error) {
	operations, err := inject.Uninject(pod)
	if err != nil {
		return nil, nil, err
	}
	pod, err = apply(pod, operations)
	return pod, operations, err
}
