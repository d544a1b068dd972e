package definition

import (
	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/kubectl-fmc/chamber"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Cache asks for a volume that outlives the service's pods.
type Cache struct {
	Size resource.Quantity
	// Shared makes it the devspace's, for all services that ask for that.
	Shared bool
	// StorageClass is empty for the cluster's default.
	StorageClass string
}

// SharedCache names the claim that the services of a devspace share.
const SharedCache = "fmc-cache"

// labelCache marks pods with the claim that they mount.
const labelCache = api.Domain + "/cache"

const (
	volumeHome  = "chamber-home"
	volumeCache = "chamber-cache"
)

// defaultCache holds the dependencies of a few services of any language.
var defaultCache = resource.MustParse("5Gi")

// The sizes between which a cache's is; any other is a slip, such as 5m (five
// thousandths of a byte) for 5Mi.
var (
	leastCache = resource.MustParse("1Mi")
	mostCache  = resource.MustParse("1Pi")
)

func (d *decoder) cache(n *yaml.Node, path string) *Cache {
	c := &Cache{Size: defaultCache}
	if resolve(n).Kind == yaml.ScalarNode {
		d.fault(n, path, "want {size: 5Gi}, or {} for that size, not %s", describe(resolve(n)))
		return c
	}
	d.mapping(n, path, fields{
		"size": func(n *yaml.Node, path string) {
			text, ok := d.scalar(n, path)
			if !ok {
				return
			}
			q, err := resource.ParseQuantity(text)
			if err != nil || q.Cmp(leastCache) < 0 || q.Cmp(mostCache) > 0 {
				d.fault(n, path, "want a size such as 5Gi, from %s to %s, not %q", leastCache.String(), mostCache.String(), text)
				return
			}
			c.Size = q
		},
		"shared": func(n *yaml.Node, path string) { c.Shared = d.boolean(n, path) },
		"storageClass": func(n *yaml.Node, path string) {
			text, ok := d.scalar(n, path)
			if faults := validation.IsDNS1123Subdomain(text); ok && len(faults) > 0 {
				d.fault(n, path, "want the name of a StorageClass (kubectl get storageclass), not %q", text)
			}
			c.StorageClass = text
		},
	})
	return c
}

// claimName is the name of the service's claim.
func (s *Service) claimName() string {
	if s.Cache.Shared {
		return SharedCache
	}
	return s.Name + "-cache"
}

// claim is the volume claim of the cache. That of one service has the labels of
// the service's objects and goes with them; the shared one is the devspace's.
func (s *Service) claim(devspace string) *corev1.PersistentVolumeClaim {
	meta := metav1.ObjectMeta{Name: s.claimName(), Namespace: devspace, Labels: Labels(devspace, s.Name)}
	if s.Cache.Shared {
		meta.Labels = map[string]string{api.LabelManagedBy: api.FieldManager, api.LabelDevspace: devspace}
	}
	claim := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: meta,
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: s.Cache.Size}},
		},
	}
	if s.Cache.StorageClass != "" {
		claim.Spec.StorageClassName = &s.Cache.StorageClass
	}
	return claim
}

// podLabels are those of the service's pods.
func (s *Service) podLabels(devspace string) map[string]string {
	labels := Labels(devspace, s.Name)
	if s.Cache != nil {
		labels[labelCache] = s.labelValue()
	}
	return labels
}

// labelValue names the claim; a label's value has 63 characters at most, which
// a service's name alone may have.
func (s *Service) labelValue() string {
	if s.Cache.Shared {
		return "shared"
	}
	return s.Name
}

// addVolumes gives the pod what a chamber's scripts write to: a home, and the
// cache, which lives as long as the pod unless the definition asks for more.
// They are volumes so that neither the image's user nor a read-only root
// filesystem matters.
func (s *Service) addVolumes(spec *corev1.PodSpec) {
	if !s.furnished && s.Cache == nil {
		return
	}
	scratch := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	cache := scratch
	if s.Cache != nil {
		cache = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: s.claimName()}}
		s.shareVolume(spec)
	}
	volumes := []corev1.Volume{{Name: volumeCache, VolumeSource: cache}}
	if s.furnished {
		volumes = append(volumes, corev1.Volume{Name: volumeHome, VolumeSource: scratch})
	}
	spec.Volumes = append(spec.Volumes, volumes...)
	container := &spec.Containers[0]
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volumeCache, MountPath: chamber.CachePath})
	if s.furnished {
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volumeHome, MountPath: chamber.HomePath})
	}
}

// cacheGroup owns a cache's volume, beside root: what one user of an image has
// written, another can change. It is the group of the webhook's own parts.
const cacheGroup = 65532

// shareVolume lets pods have one volume together: it can be mounted on one node
// only (ReadWriteOnce), and the scheduler does not look at that itself.
func (s *Service) shareVolume(spec *corev1.PodSpec) {
	spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey:   corev1.LabelHostname,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{labelCache: s.labelValue()}},
		}},
	}}
	group, policy := int64(cacheGroup), corev1.FSGroupChangeOnRootMismatch // a cache has too many files to look at each
	spec.SecurityContext.FSGroup = &group
	spec.SecurityContext.FSGroupChangePolicy = &policy
}
