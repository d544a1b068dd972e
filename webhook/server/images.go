package server

import (
	"context"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/formicarium/formicarium/webhook/inject"
)

// Images knows what images run by themselves.
type Images interface {
	// Commands returns an answer for each image of the query, in a time that
	// leaves the API server enough of its own.
	Commands(ctx context.Context, namespace string, q inject.ImageQuery) map[string]inject.ImageCommand
}

// settings returns the settings with what this pod needs to be known. A pod
// that cannot be read needs nothing: injecting says what is wrong with it.
func (s *server) settings(ctx context.Context, r *admissionv1.AdmissionRequest, ns inject.NamespaceInfo) inject.Settings {
	settings := s.Settings
	if s.Images == nil {
		return settings
	}
	if q, err := inject.NeedsImages(r.Object.Raw, ns); err == nil && len(q.Images) > 0 {
		settings.Images = s.Images.Commands(ctx, r.Namespace, q)
	}
	return settings
}
