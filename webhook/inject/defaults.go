package inject

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// DefaultResources are those that the webhook gives to netra and to the two
// init containers where its own settings say nothing else. The CPU limit is
// there for namespaces whose quota demands one; it is far above what netra
// uses, so that it does not slow it.
func DefaultResources() (netra, initContainers corev1.ResourceRequirements) {
	return requirements("10m", "24Mi", "1", "128Mi"), requirements("10m", "16Mi", "1", "64Mi")
}

func requirements(cpu, memory, cpuLimit, memoryLimit string) corev1.ResourceRequirements {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return corev1.ResourceRequirements{Requests: list(cpu, memory), Limits: list(cpuLimit, memoryLimit)}
}
