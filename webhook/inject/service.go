package inject

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// annotationOTelService is OpenTelemetry's name for the service, which other
// tracing tools read from the same place.
const annotationOTelService = "resource.opentelemetry.io/service.name"

// serviceName returns the service's name, always a valid one: from what the
// pod says, most explicit first, else from its owner, else from its own name.
func (in *injection) serviceName() string {
	pod := in.pod
	if name := pod.Annotations[api.AnnotationService]; name != "" {
		err := api.CheckName("service", name)
		if err == nil {
			return name
		}
		in.warn("%s: %v; another name is taken", api.AnnotationService, err)
	}
	for _, name := range []string{
		// The label is what the hub finds pods by, so it goes before names
		// that were given for other purposes.
		pod.Labels[api.LabelService],
		pod.Annotations[annotationOTelService],
		pod.Labels[api.LabelName],
		ownerName(pod),
		pod.GenerateName,
		pod.Name,
	} {
		if name = toName(name); name != "" {
			return name
		}
	}
	return "unnamed"
}

// scheduled is the suffix that a CronJob gives its Jobs: the time in minutes.
var scheduled = regexp.MustCompile(`-\d{8,}$`)

// ownerName returns the name of the workload that the pod belongs to.
func ownerName(pod *corev1.Pod) string {
	if len(pod.OwnerReferences) == 0 {
		return ""
	}
	owner := pod.OwnerReferences[0]
	if i := slices.IndexFunc(pod.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Controller != nil && *o.Controller }); i >= 0 {
		owner = pod.OwnerReferences[i]
	}
	switch owner.Kind {
	case "ReplicaSet":
		// A Deployment's ReplicaSets differ by this hash, its services do not.
		if hash := pod.Labels["pod-template-hash"]; hash != "" {
			return strings.TrimSuffix(owner.Name, "-"+hash)
		}
	case "Job":
		return scheduled.ReplaceAllString(owner.Name, "")
	}
	return owner.Name
}

// toName makes a valid service name of any text, or "" where nothing is left.
func toName(text string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(text) {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			b.WriteRune(c)
		} else {
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if name != "" && name[0] <= '9' {
		name = "s-" + name
	}
	if len(name) > api.MaxNameLength {
		name = strings.TrimRight(name[:api.MaxNameLength], "-")
	}
	return name
}
