package inject

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/formicarium/formicarium/internal/api"
)

// Values of NETRA_REDIRECT_BACKEND.
const (
	backendAuto     = "auto"
	backendIPTables = "iptables"
)

// addNetra adds netra-init and netra, or says why not.
func (in *injection) addNetra() Reason {
	spec := in.pod.Spec
	names := []string{api.ContainerNetraInit, api.ContainerNetra}
	var present []string
	for _, name := range names {
		if containerNamed(spec.InitContainers, name) >= 0 || containerNamed(spec.Containers, name) >= 0 {
			present = append(present, name)
		}
	}
	switch {
	case len(present) == len(names) && in.wasInjected(PartNetra):
		return Reason{Code: CodeAlready}
	case len(present) > 0:
		return Reason{Code: CodeNameTaken, Text: fmt.Sprintf("the pod has a container named %s of its own", present[0])}
	}
	if reason := in.refusesNetra(); reason.Code != "" {
		return reason
	}
	admin := in.netraPort(api.EnvNetraAdminPort, api.NetraAdminPort)
	initContainers := []string{"spec", "initContainers"}
	if in.settings.NativeSidecar {
		// netra stands before the pod's own init containers, so that these
		// have a network while their connections are redirected.
		in.doc.insert(0, initContainers, in.netraInit(), in.netra(admin))
	} else {
		// An ordinary container runs only after all init containers: these
		// keep the network by the redirection coming last.
		in.doc.add(initContainers, in.netraInit())
		in.doc.add([]string{"spec", "containers"}, in.netra(admin))
	}
	return Reason{Code: CodeInjected}
}

// netraPorts returns the ports that netra listens on.
func (in *injection) netraPorts() []int {
	return []int{
		in.netraPort(api.EnvNetraPort, api.NetraInboundPort),
		in.netraPort(api.EnvNetraOutboundPort, api.NetraOutboundPort),
		in.netraPort(api.EnvNetraAdminPort, api.NetraAdminPort),
	}
}

// netraPort returns one of netra's ports, from the pod's annotation or def.
func (in *injection) netraPort(name string, def int) int {
	if port, err := strconv.Atoi(in.values[name].text); err == nil {
		return port
	}
	return def
}

// refusesNetra says why this pod cannot have netra, with an empty Code where
// it can.
func (in *injection) refusesNetra() Reason {
	spec := in.pod.Spec
	if len(spec.Containers) == 0 {
		return Reason{Code: CodeNoContainer, Text: "the pod has no container"}
	}
	if spec.HostNetwork {
		return Reason{Code: CodeHostNetwork, Text: "the pod uses the node's network, whose traffic is not only its own"}
	}
	if name := redirector(spec); name != "" {
		return Reason{Code: CodeOtherMesh, Text: fmt.Sprintf("the pod's connections are redirected by container %s already", name)}
	}
	switch in.ns.EnforceLevel {
	case "baseline", "restricted":
		return Reason{Code: CodePodSecurity, Text: fmt.Sprintf("pod security level %q of namespace %s refuses netra-init's NET_ADMIN; label it pod-security.kubernetes.io/enforce=privileged to trace its pods",
			in.ns.EnforceLevel, short(in.ns.Name))}
	}
	uids := []*int64{}
	if spec.SecurityContext != nil {
		uids = append(uids, spec.SecurityContext.RunAsUser)
	}
	own := in.netraPorts()
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if c.SecurityContext != nil {
			uids = append(uids, c.SecurityContext.RunAsUser)
		}
		for _, p := range c.Ports {
			if slices.Contains(own, int(p.ContainerPort)) && isTCP(p) {
				return Reason{Code: CodePortTaken, Text: fmt.Sprintf("container %s has port %d, which is netra's", c.Name, p.ContainerPort)}
			}
		}
	}
	for _, uid := range uids {
		if uid != nil && *uid == api.NetraUID {
			return Reason{Code: CodeUserID, Text: fmt.Sprintf("the pod runs as user %d, which is netra's: its traffic would not be seen", api.NetraUID)}
		}
	}
	return Reason{}
}

// netraInit returns the container that redirects. It is the only one with a
// capability: changing the pod's packet filter takes NET_ADMIN, and the iptables
// programs, which are in an image of their own, speak to the kernel through a
// raw socket where it has no nf_tables.
func (in *injection) netraInit() corev1.Container {
	image, capabilities, set := in.settings.NetraInitImage, []corev1.Capability{"NET_ADMIN"}, in.values.of(toInit)
	backend := in.settings.RedirectBackend
	if backend == backendIPTables {
		image, capabilities = in.settings.NetraInitIPTablesImage, append(capabilities, "NET_RAW")
	}
	if backend != "" && backend != backendAuto {
		set[api.EnvRedirectBackend] = backend
	}
	security := restricted(0)
	security.RunAsNonRoot = new(false)
	security.Capabilities.Add = capabilities
	return corev1.Container{
		Name:            api.ContainerNetraInit,
		Image:           image,
		ImagePullPolicy: in.settings.PullPolicy,
		Env:             environ(literalValues(set)),
		Resources:       in.settings.InitResources,
		SecurityContext: security,
	}
}

func (in *injection) netra(admin int) corev1.Container {
	list := append(environ(literalValues(in.netraEnvironment())), field(api.EnvPodName, "metadata.name"), field(api.EnvPodNamespace, "metadata.namespace"))
	slices.SortFunc(list, byName)
	c := corev1.Container{
		Name:            api.ContainerNetra,
		Image:           in.settings.NetraImage,
		ImagePullPolicy: in.settings.PullPolicy,
		Env:             list,
		Ports:           []corev1.ContainerPort{{Name: "netra-admin", ContainerPort: int32(admin), Protocol: corev1.ProtocolTCP}},
		Resources:       in.settings.NetraResources,
		SecurityContext: restricted(api.NetraUID),
		// Two minutes: enough for a busy node, and far above the some
		// milliseconds that netra takes.
		StartupProbe: &corev1.Probe{
			ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(int32(admin))}},
			PeriodSeconds:    1,
			FailureThreshold: 120,
		},
	}
	if in.settings.NativeSidecar {
		c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	}
	return c
}

// restricted returns what the pod security level "restricted" asks for, for
// the user uid.
func restricted(uid int64) *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsUser:                new(uid),
		RunAsGroup:               new(uid),
		RunAsNonRoot:             new(true),
		ReadOnlyRootFilesystem:   new(true),
		AllowPrivilegeEscalation: new(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// literalValues writes values so that the kubelet, which replaces $(NAME), leaves
// them as they are: what was checked is what the program reads.
func literalValues(set map[string]string) map[string]string {
	for name, v := range set {
		set[name] = strings.ReplaceAll(v, "$", "$$")
	}
	return set
}

// environ returns set as a container has it, sorted by name.
func environ(set map[string]string) []corev1.EnvVar {
	var list []corev1.EnvVar
	for _, name := range slices.Sorted(maps.Keys(set)) {
		list = append(list, corev1.EnvVar{Name: name, Value: set[name]})
	}
	return list
}

func field(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
}

func byName(a, b corev1.EnvVar) int {
	if a.Name < b.Name {
		return -1
	}
	return 1
}
