package server

import (
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/webhook/inject"
	"github.com/formicarium/formicarium/webhook/notice"
)

// notify tells the pod's owner what became of what the pod asked for. A pod
// without an owner was made by somebody who sees the answer's warnings. A dry run
// leaves nothing behind (the configuration says sideEffects NoneOnDryRun).
// Nothing that goes wrong here is worth a pod.
func (s *server) notify(r *admissionv1.AdmissionRequest, result inject.Result) {
	owner := metav1.GetControllerOfNoCopy(&result.Meta)
	if s.Notify == nil || owner == nil || r.DryRun != nil && *r.DryRun {
		return
	}
	defer func() {
		if cause := recover(); cause != nil {
			s.Log.Error("telling a pod's owner panicked", "panic", cause)
		}
	}()
	kind, reason, note := tell(result)
	if note == "" {
		return
	}
	s.Notify(notice.Notice{
		Regarding: corev1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: r.Namespace, Name: owner.Name, UID: owner.UID},
		Type:      kind, Reason: reason, Note: note,
	})
}

// tell says what an event says of a result; an empty note is no event. What was
// left out is what people look for, so it comes before what was not.
func tell(result inject.Result) (kind, reason, note string) {
	var injected []string
	var texts []string
	parts := map[string][]string{}
	for _, r := range result.Reasons {
		switch r.Code {
		case inject.CodeInjected:
			injected = append(injected, r.Part)
		case inject.CodeAlready, inject.CodeNotAsked, inject.CodeDisabled, inject.CodeSystemNamespace:
		default:
			if parts[r.Text] == nil {
				texts = append(texts, r.Text)
			}
			parts[r.Text] = append(parts[r.Text], r.Part)
		}
	}
	if len(texts) == 0 {
		if len(injected) == 0 {
			return "", "", ""
		}
		return corev1.EventTypeNormal, notice.Injected, "injected " + strings.Join(injected, " and ") + " as service " + result.Status.Service
	}
	for i, text := range texts {
		texts[i] = strings.Join(parts[text], " and ") + " not injected: " + text
	}
	if len(injected) > 0 {
		texts = append(texts, "injected "+strings.Join(injected, " and "))
	}
	return corev1.EventTypeWarning, notice.Skipped, strings.Join(texts, "; ")
}
