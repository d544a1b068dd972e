package inject

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/formicarium/formicarium/internal/api"
)

// Uninject returns the patch that takes out of a pod what Inject has put into
// it: it is what it was before, but for what others have changed since. The
// pod's own annotations, by which it asks, stay. A pod without a status
// annotation is left as it is.
//
// An error means that podJSON is not a pod, or that its status annotation does
// not say what was there before.
func Uninject(podJSON []byte) ([]Operation, error) {
	doc, err := parse(podJSON)
	if err != nil {
		return nil, fmt.Errorf("decoding the pod: %w", err)
	}
	text, there := doc.get([]string{"metadata", "annotations", api.AnnotationStatus}).(string)
	if !there {
		return []Operation{}, nil
	}
	var status api.InjectionStatus
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return nil, fmt.Errorf("reading annotation %s, which the webhook did not write so (remove it): %w", api.AnnotationStatus, err)
	}
	switch {
	case status.Undo == nil:
		return nil, fmt.Errorf("taking the injection out: annotation %s of version %q does not say what was there before; create the pod anew from its source", api.AnnotationStatus, short(status.Version))
	case tooMany(status.Undo):
		return nil, errors.New("taking the injection out: annotation " + api.AnnotationStatus + " has more entries than the webhook writes")
	}
	doc.revert(status.Undo)
	if doc.err != nil {
		return nil, fmt.Errorf("taking the injection out: %w", doc.err)
	}
	return append([]Operation{}, doc.operations...), nil
}
