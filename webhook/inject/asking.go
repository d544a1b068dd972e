package inject

import (
	"fmt"

	"github.com/formicarium/formicarium/internal/api"
)

// Ask returns the patch that makes a pod (or a pod template) ask for injection:
// the annotation formicarium.io/inject with a value that is one of
// InjectValues.
func Ask(podJSON []byte, value string) ([]Operation, error) {
	return patch(podJSON, func(d *document) { d.put(value, "metadata", "annotations", api.AnnotationInject) })
}

// Unask returns the patch that takes back what Ask made. An annotation that
// refuses injection stays, since that is nobody's asking.
func Unask(podJSON []byte) ([]Operation, error) {
	return patch(podJSON, func(d *document) {
		annotations := []string{"metadata", "annotations"}
		all, _ := d.get(annotations).(map[string]any)
		value, there := all[api.AnnotationInject]
		if !there || value == api.InjectDisabled {
			return
		}
		if len(all) == 1 {
			d.remove(annotations...)
		} else {
			d.remove(child(annotations, api.AnnotationInject)...)
		}
		if isEmpty(d.get([]string{"metadata"})) {
			d.remove("metadata")
		}
	})
}

// InjectValues are the values of the annotation formicarium.io/inject.
func InjectValues() []string { return append([]string{}, injectValues...) }

func patch(podJSON []byte, edit func(*document)) ([]Operation, error) {
	doc, err := parse(podJSON)
	if err != nil {
		return nil, fmt.Errorf("decoding the pod: %w", err)
	}
	if edit(doc); doc.err != nil {
		return nil, fmt.Errorf("patching the pod: %w", doc.err)
	}
	return append([]Operation{}, doc.operations...), nil
}
