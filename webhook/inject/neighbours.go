package inject

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// annotationDefaultContainer is Kubernetes' own word for the container that is
// meant where none is named.
const annotationDefaultContainer = "kubectl.kubernetes.io/default-container"

// sidecars are containers that others' webhooks put into pods, some of them
// before the application's.
var sidecars = []string{api.ContainerNetra, "istio-proxy", "linkerd-proxy", "daprd", "queue-proxy"}

// redirectors are containers of others' that redirect the pod's connections:
// of two redirections one would not see them.
var redirectors = []string{"istio-init", "linkerd-init", "istio-proxy", "linkerd-proxy", "kuma-init", "consul-connect-inject-init"}

// application returns the place of the container that is supervised where none
// is named, or -1.
func (in *injection) application() int {
	containers := in.pod.Spec.Containers
	if i := containerNamed(containers, in.pod.Annotations[annotationDefaultContainer]); i >= 0 {
		return i
	}
	if i := slices.IndexFunc(containers, func(c corev1.Container) bool { return !slices.Contains(sidecars, c.Name) }); i >= 0 {
		return i
	}
	return slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name != api.ContainerNetra })
}

// redirector returns the name of a container that redirects already, or "".
func redirector(spec corev1.PodSpec) string {
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if slices.Contains(redirectors, c.Name) {
			return c.Name
		}
	}
	return ""
}
