package inject

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
)

// rewriteProbes keeps the meaning of probes by tcpSocket: at a captured port it
// is netra who accepts, always, so that such a probe would succeed while the
// application does not listen. Each becomes an httpGet of netra's admin port,
// where netra answers for the port (api.PathProbeTCP). Times and thresholds stay.
//
// Left alone are probes that netra does not answer: of a port that is not
// captured, and of another host. So are those that the kubelet cannot make
// either, such as of a port name that the container does not have, which go on
// failing. Probes by httpGet, grpc and exec mean the same as ever.
//
// The result is what the pod's status is to say: all probes that are rewritten,
// now or earlier.
func (in *injection) rewriteProbes(status api.InjectionStatus) []api.RewrittenProbe {
	if !slices.Contains(status.Injected, PartNetra) {
		return nil
	}
	r := probeRewriter{
		doc:     in.doc,
		admin:   in.netraPort(api.EnvNetraAdminPort, api.NetraAdminPort),
		earlier: slices.Clone(in.previous.Probes),
	}
	none := func(int) bool { return false }
	captures := none
	if in.netraIsOurs() {
		captures = in.captures()
	}
	own := in.pod.Spec.InitContainers
	if in.settings.NativeSidecar {
		// netra-init and netra were put before the pod's own.
		list, _ := in.doc.get([]string{"spec", "initContainers"}).([]any)
		r.containers("initContainers", len(list)-len(own), own, captures)
	} else {
		// An ordinary netra starts after the init containers: sidecars among
		// them would be killed, or waited for in vain, were their probes to ask it.
		r.containers("initContainers", 0, own, none)
	}
	r.containers("containers", 0, in.pod.Spec.Containers, captures)
	return r.probes
}

// netraIsOurs reports whether netra is of this installation: one that an older
// webhook injected need not know how to answer for a port.
func (in *injection) netraIsOurs() bool {
	for _, c := range slices.Concat(in.pod.Spec.InitContainers, in.pod.Spec.Containers) {
		if c.Name == api.ContainerNetra {
			return c.Image == in.settings.NetraImage
		}
	}
	return true
}

// captures returns whether netra-init redirects connections to a port, as
// redirect.NewPlan decides it. A port of which only some connections are drawn
// counts, since netra accepts these.
func (in *injection) captures() func(port int) bool {
	r := env.NewReader(func(name string) string { return in.values[name].text }) // checked where they were read
	ports, all := r.Ports(api.EnvInboundPorts, "*")
	excluded, _ := r.Ports(api.EnvExcludeInboundPorts, "")
	probability := r.Float(api.EnvInboundProbability, 1, 0, 1)
	own := append(in.netraPorts(), api.NetraInboundPort, api.NetraOutboundPort, api.NetraAdminPort)
	return func(port int) bool {
		switch {
		case port < 1 || port > 65535 || probability == 0:
			return false
		case port >= api.OwnPortFirst && port <= api.OwnPortLast || slices.Contains(own, port):
			return false
		case slices.Contains(excluded, uint16(port)):
			return false
		}
		return all || slices.Contains(ports, uint16(port))
	}
}

// probeRewriter goes through a pod's probes.
type probeRewriter struct {
	doc     *document
	admin   int
	earlier []api.RewrittenProbe // of an earlier injection, and not seen yet
	probes  []api.RewrittenProbe // rewritten, now or earlier
}

// containers rewrites the probes of captured ports in the containers of a list of
// the pod's spec, in which they begin at first.
func (r *probeRewriter) containers(list string, first int, containers []corev1.Container, captures func(port int) bool) {
	for i, c := range containers {
		if c.Name == api.ContainerNetra {
			continue
		}
		at := []string{"spec", list, strconv.Itoa(first + i)}
		for _, p := range []struct {
			kind  string
			probe *corev1.Probe
		}{
			{api.ProbeLiveness, c.LivenessProbe},
			{api.ProbeReadiness, c.ReadinessProbe},
			{api.ProbeStartup, c.StartupProbe},
		} {
			if p.probe == nil {
				continue
			}
			if r.isRewritten(p.probe) {
				r.keep(c.Name, p.kind)
			} else if port, ok := soleTCPPort(c, p.probe); ok && captures(port) {
				r.rewrite(c.Name, p.kind, port, append(slices.Clone(at), p.kind))
			}
		}
	}
}

func (r *probeRewriter) isRewritten(probe *corev1.Probe) bool {
	get := probe.HTTPGet
	return get != nil && get.Port == intstr.FromInt(r.admin) && strings.HasPrefix(get.Path, api.PathProbeTCP)
}

// keep goes on telling of a probe what an earlier injection told. One that was
// written so by the user is not among those.
func (r *probeRewriter) keep(container, kind string) {
	i := slices.IndexFunc(r.earlier, func(e api.RewrittenProbe) bool { return e.Container == container && e.Kind == kind })
	if i >= 0 {
		r.probes = append(r.probes, r.earlier[i])
		r.earlier = slices.Delete(r.earlier, i, i+1)
	}
}

// rewrite makes the probe at this place one by httpGet.
func (r *probeRewriter) rewrite(container, kind string, port int, at []string) {
	socket := append(slices.Clone(at), "tcpSocket")
	written, err := json.Marshal(r.doc.get(socket))
	if err != nil {
		r.doc.fail(err)
		return
	}
	r.doc.remove(socket...)
	r.doc.put(corev1.HTTPGetAction{Path: api.PathProbeTCP + strconv.Itoa(port), Port: intstr.FromInt(r.admin)}, append(slices.Clone(at), "httpGet")...)
	r.probes = append(r.probes, api.RewrittenProbe{Container: container, Kind: kind, TCPSocket: written})
}

// soleTCPPort returns the port that a probe asks by tcpSocket at the pod's own
// address, and by nothing else.
func soleTCPPort(c corev1.Container, probe *corev1.Probe) (port int, ok bool) {
	socket := probe.TCPSocket
	if socket == nil || socket.Host != "" || probe.HTTPGet != nil || probe.GRPC != nil || probe.Exec != nil {
		return 0, false
	}
	if socket.Port.Type == intstr.Int {
		return socket.Port.IntValue(), true
	}
	for _, p := range c.Ports {
		if p.Name == socket.Port.StrVal {
			return int(p.ContainerPort), true
		}
	}
	return 0, false
}
