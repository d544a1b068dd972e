package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/formicarium/formicarium/internal/api"
)

// podJSON is a pod as a Deployment's makes it: an application with a proxy
// beside it.
//
//go:embed testdata/pod.json
var podJSON []byte

// reviewJSON is a review as the API server sends it; OBJECT stands for the pod.
//
//go:embed testdata/review.json
var reviewJSON []byte

// pod is one that is measured, by the value of its annotation; empty is none.
type pod struct {
	name, inject string
	injected     bool
}

// pods are all that are measured. The API server does not send the first, but a
// webhook configuration of a user's own may.
var pods = []pod{
	{"does not ask", "", false},
	{"netra", api.InjectNetra, true},
	{"netra and stinger", api.InjectEnabled, true},
}

// review returns the body that the API server sends for p.
func (p pod) review() ([]byte, error) {
	var object map[string]any
	if err := json.Unmarshal(podJSON, &object); err != nil {
		return nil, fmt.Errorf("reading the pod: %w", err)
	}
	if p.inject != "" {
		object["metadata"].(map[string]any)["annotations"].(map[string]any)[api.AnnotationInject] = p.inject
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	return bytes.Replace(reviewJSON, []byte(`"OBJECT"`), text, 1), nil
}
