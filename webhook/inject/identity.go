package inject

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/formicarium/formicarium/internal/api"
)

// tokenSeconds is how long a pod's token is valid. The kubelet writes a new one
// when a fifth of it is left.
const tokenSeconds = 3600

// identity returns the volume by which a Stinger is somebody in its devspace:
// the pod's token, which is good for that devspace's hub alone, and the
// certificate by which the pod knows the hub. A pod outside of a devspace starts
// without the second.
//
// Its files' mode is the default. The kubelet makes the token readable to those
// who need it: to all, or, where all containers have one user, to that one, or,
// with an fsGroup, to the group.
func (in *injection) identity() corev1.Volume {
	seconds, optional := int64(tokenSeconds), true
	return corev1.Volume{Name: volumeIdentity, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Audience: api.Audience(in.ns.Name), ExpirationSeconds: &seconds, Path: api.IdentityToken,
			}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: api.AuthorityName},
				Items:                []corev1.KeyToPath{{Key: api.IdentityAuthority, Path: api.IdentityAuthority}},
				Optional:             &optional,
			}},
		},
	}}}
}

// isIdentity reports whether a volume is what identity makes, for whatever
// devspace.
func isIdentity(v corev1.Volume) bool { return tokenOf(v) >= 0 }

// tokenOf returns the place of our token among a volume's sources, or -1.
func tokenOf(v corev1.Volume) int {
	if v.Projected == nil {
		return -1
	}
	return slices.IndexFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
		t := s.ServiceAccountToken
		return t != nil && t.Path == api.IdentityToken && strings.HasPrefix(t.Audience, api.Audience(""))
	})
}

// mendAudience has the token be for this devspace's hub. What inject --manual
// wrote out for one namespace may be applied in another.
func (in *injection) mendAudience() {
	for i, v := range in.pod.Spec.Volumes {
		j := tokenOf(v)
		if v.Name != volumeIdentity || j < 0 || in.ns.Name == "" || v.Projected.Sources[j].ServiceAccountToken.Audience == api.Audience(in.ns.Name) {
			continue
		}
		in.doc.put(api.Audience(in.ns.Name), "spec", "volumes", strconv.Itoa(i), "projected", "sources", strconv.Itoa(j), "serviceAccountToken", "audience")
	}
}

// tellOlder warns of a container that a version without identities injected: it
// is left as it is, since what runs in it is of that version as well.
func (in *injection) tellOlder(c corev1.Container) {
	if isOlder(c) {
		in.warn("container %s was injected by an earlier version, whose Stinger today's hub does not speak with: create the pod from what was written before the injection", short(c.Name))
	}
}

// mendProbes has probes of a Stinger's port made by TLS, which is what listens
// there. An earlier version's deploy wrote them without.
func (in *injection) mendProbes(endpoints []api.StingerEndpoint) {
	for _, e := range endpoints {
		i := containerNamed(in.pod.Spec.Containers, e.Container)
		c := in.pod.Spec.Containers[i]
		if _, injected := in.supervised(i); injected && isOlder(c) {
			continue
		}
		for _, p := range []struct {
			kind  string
			probe *corev1.Probe
		}{
			{api.ProbeLiveness, c.LivenessProbe},
			{api.ProbeReadiness, c.ReadinessProbe},
			{api.ProbeStartup, c.StartupProbe},
		} {
			if p.probe == nil || p.probe.HTTPGet == nil {
				continue
			}
			if to := p.probe.HTTPGet; to.Host == "" && to.Port == intstr.FromInt(e.Port) && to.Scheme != corev1.URISchemeHTTPS {
				in.doc.put(string(corev1.URISchemeHTTPS), "spec", "containers", strconv.Itoa(i), p.kind, "httpGet", "scheme")
			}
		}
	}
}

// isOlder reports whether a version without identities injected the container:
// its Stinger knows no TLS.
func isOlder(c corev1.Container) bool {
	_, there := mountAt(c, identityPath)
	return !there
}
