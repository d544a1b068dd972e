package inject

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
)

// PullPolicies are the image pull policies.
var PullPolicies = []string{string(corev1.PullIfNotPresent), string(corev1.PullAlways), string(corev1.PullNever)}

// What follows the prefix in the names of resource settings.
const (
	cpuRequest    = "_CPU_REQUEST"
	cpuLimit      = "_CPU_LIMIT"
	memoryRequest = "_MEMORY_REQUEST"
	memoryLimit   = "_MEMORY_LIMIT"
)

// quantity is what is taken of Kubernetes' quantities: not their exponents, with
// which a few bytes can ask for numbers of a billion digits.
var quantity = regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|Ki|M|Mi|G|Gi)?$`)

// ReadResources reads a container's resources from the settings PREFIX_CPU_REQUEST,
// PREFIX_CPU_LIMIT, PREFIX_MEMORY_REQUEST and PREFIX_MEMORY_LIMIT. One that is
// not set is as in def; "none" sets none.
func ReadResources(r *env.Reader, prefix string, def corev1.ResourceRequirements) corev1.ResourceRequirements {
	list := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	for _, of := range []struct {
		name           corev1.ResourceName
		request, limit string
	}{
		{corev1.ResourceCPU, prefix + cpuRequest, prefix + cpuLimit},
		{corev1.ResourceMemory, prefix + memoryRequest, prefix + memoryLimit},
	} {
		request, requested := readQuantity(r, of.request, of.name, def.Requests)
		limit, limited := readQuantity(r, of.limit, of.name, def.Limits)
		if requested {
			list.Requests[of.name] = request
		}
		if limited {
			list.Limits[of.name] = limit
		}
		if !requested || !limited || request.Cmp(limit) <= 0 {
			continue
		}
		if v := r.String(of.limit, ""); v != "" {
			r.Fault(of.limit, v, fmt.Sprintf("no less than %s, %s", of.request, request.String()), of.request)
		} else {
			r.Fault(of.request, r.String(of.request, ""), fmt.Sprintf("no more than %s, %s", of.limit, limit.String()), of.limit)
		}
	}
	return list
}

func readQuantity(r *env.Reader, name string, of corev1.ResourceName, def corev1.ResourceList) (q resource.Quantity, there bool) {
	q, there = def[of]
	switch v := r.String(name, ""); {
	case v == "":
		return q, there
	case v == "none":
		return resource.Quantity{}, false
	case quantity.MatchString(v):
		if parsed, err := resource.ParseQuantity(v); err == nil && parsed.Sign() > 0 {
			return parsed, true
		}
		fallthrough
	default:
		r.Fault(name, v, "a quantity above 0 such as 10m or 64Mi, or none")
		return q, there
	}
}

// leastMemory is the limit below which netra is killed before it has done
// anything: it takes some 10 MiB by itself.
var leastMemory = resource.MustParse("16Mi")

// checkResources checks what the pod's annotations make of netra's resources.
func checkResources(r *env.Reader, def corev1.ResourceRequirements) {
	const name = netraPrefix + memoryLimit
	limit, there := ReadResources(r, netraPrefix, def).Limits[corev1.ResourceMemory]
	if v := r.String(name, ""); v != "" && there && limit.Cmp(leastMemory) < 0 {
		r.Fault(name, v, fmt.Sprintf("at least %s, which netra takes to start", leastMemory.String()))
	}
}

// forPod returns the settings with what the pod's annotations change of them.
func (s Settings) forPod(values variables) Settings {
	r := env.NewReader(values.get)
	s.PullPolicy = corev1.PullPolicy(r.String(settingPullPolicy, string(s.PullPolicy)))
	s.RedirectBackend = r.String(api.EnvRedirectBackend, s.RedirectBackend)
	if slices.ContainsFunc(slices.Collect(maps.Keys(values.of(toPod))), func(name string) bool { return name != settingPullPolicy }) {
		s.NetraResources = ReadResources(r, netraPrefix, s.NetraResources)
	}
	return s
}
