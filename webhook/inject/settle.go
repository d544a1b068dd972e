package inject

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/internal/handover"
	"github.com/formicarium/formicarium/internal/reload"
	"github.com/formicarium/formicarium/internal/sidecar"
)

// settle reads the pod's annotations and decides which of them hold: it asks
// the programs' own rules about the environment that the containers would have,
// leaves out what they refuse, with a warning, and asks again, until nothing is
// refused. So a pod that starts with a default is all that a bad value can lead
// to, whatever it does not go together with.
func (in *injection) settle() {
	in.values = in.asked()
	for in.leaveOut(in.faults()) {
	}
	in.tellSlips()
	in.tellIdleExporter()
	in.settings = in.settings.forPod(in.values)
}

// leaveOut takes the variables at fault out of those that are set, and reports
// whether there were any.
func (in *injection) leaveOut(faults []*env.Fault) bool {
	slices.SortStableFunc(faults, func(a, b *env.Fault) int { return cmp.Compare(a.Name, b.Name) })
	out := map[string]bool{}
	for _, f := range faults {
		involved := append([]string{f.Name}, f.Others...)
		if slices.ContainsFunc(involved, func(name string) bool { return out[name] }) {
			continue // it may be right without that one
		}
		i := slices.IndexFunc(involved, func(name string) bool { _, set := in.values[name]; return set })
		if i < 0 {
			continue // it is the installation's, or nobody's
		}
		name := involved[i]
		out[name] = true
		annotation, want := api.Domain+"/"+key(name), inKeys(f.Allowed)
		if i == 0 {
			in.slip("%s=%q: want %s; it has no effect", annotation, short(f.Value), want)
		} else {
			in.slip("%s=%q has no effect: %s would have to be %s", annotation, short(in.shown(name)), key(f.Name), want)
		}
		delete(in.values, name)
	}
	return len(out) > 0
}

// shown returns the value as far as warnings, which are logged, may hold it.
func (in *injection) shown(name string) string {
	text := in.values.get(name)
	if name == envPassword || strings.HasSuffix(name, "_HEADERS") || strings.Contains(text, "@") {
		return "(not shown)"
	}
	return text
}

// variableName is what faults call a setting.
var variableName = regexp.MustCompile(`\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\b`)

// inKeys names settings in a text as annotations are named.
func inKeys(text string) string {
	return variableName.ReplaceAllStringFunc(text, func(name string) string {
		if _, ok := known[key(name)]; ok {
			return key(name)
		}
		return name
	})
}

// faults returns what the programs, the kernel or Kubernetes would refuse.
func (in *injection) faults() []*env.Fault {
	r := env.NewReader(in.values.get)
	if in.checkTexts(r); r.Err() != nil {
		return r.Faults() // the rest need not read what is too long
	}
	in.checkPorts(r)
	checkStinger(r)
	r.OneOf(settingPullPolicy, string(corev1.PullIfNotPresent), PullPolicies...)
	checkResources(r, in.settings.NetraResources)
	environment := in.netraEnvironment()
	list := sidecar.Check(func(name string) string {
		if v := in.values.get(name); v != "" {
			return v
		}
		return environment[name]
	})
	return append(r.Faults(), list...)
}

// maxText bounds a value. The kernel starts no program with a variable of more
// than 128 KiB, and a value of tens of thousands of ports or networks would
// take netra-init more memory than it has.
const maxText = 8 << 10

// checkTexts checks what no container can be given.
func (in *injection) checkTexts(r *env.Reader) {
	for name, v := range in.values {
		if len(v.text) > maxText {
			r.Fault(name, in.shown(name), fmt.Sprintf("at most %d bytes", maxText))
		}
		if strings.ContainsRune(v.text, 0) {
			r.Fault(name, in.shown(name), "a text without NUL")
		}
	}
}

// checkPorts checks that netra can listen there: on ports of its own, none of
// which takes a capability.
func (in *injection) checkPorts(r *env.Reader) {
	for _, name := range []string{api.EnvNetraPort, api.EnvNetraOutboundPort, api.EnvNetraAdminPort, api.EnvNetraPprofPort} {
		text := in.values.get(name)
		port, err := strconv.Atoi(text)
		if err != nil {
			continue // not set, or a fault for others to tell
		}
		taken := ""
		for _, c := range slices.Concat(in.pod.Spec.InitContainers, in.pod.Spec.Containers) {
			if c.Name != api.ContainerNetra && takesPort(c, int32(port)) {
				taken = c.Name
			}
		}
		switch {
		case port < 1024:
			r.Fault(name, text, "a port from 1024 on: those below take a right that netra has not")
		case port >= api.OwnPortFirst && port <= api.OwnPortLast:
			r.Fault(name, text, fmt.Sprintf("a port outside of %d to %d, which are Stinger's", api.OwnPortFirst, api.OwnPortLast))
		case taken != "":
			r.Fault(name, text, "a port other than those of container "+taken)
		}
	}
}

// takesPort reports whether the container says that it listens there.
func takesPort(c corev1.Container, port int32) bool {
	return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort == port && isTCP(p) })
}

// isTCP reports whether the port is of TCP, which it is where it does not say.
func isTCP(p corev1.ContainerPort) bool { return p.Protocol == "" || p.Protocol == corev1.ProtocolTCP }

// checkStinger checks what Stinger would, and that its directories are not
// those that it brings along.
func checkStinger(r *env.Reader) {
	r.HTTPURL(api.EnvGitURL, "")
	r.Bool(api.EnvStartAfterPull, false)
	r.Bool(api.EnvStingerWaitForCode, false)
	r.Duration(api.EnvStingerGrace, 0)
	r.Limit(api.EnvStingerBuildTimeout, 0)
	reload.Read(r)
	handover.Read(r)
	for _, name := range []string{api.EnvAppPath, api.EnvStingerScripts} {
		if v := r.Directory(name, defaultApp); path.IsAbs(v) && within(v, fmcRoot) {
			r.Fault(name, v, "a directory that is not below "+fmcRoot)
		}
	}
}

// netraEnvironment returns netra's variables: those of the pod's annotations
// above those of the installation, which say nothing where the pod says it in
// another way.
func (in *injection) netraEnvironment() map[string]string {
	set := in.values.of(toNetra)
	if sidecar.ReadNetra(env.NewReader(in.values.get)).ServiceName == "" {
		set[api.EnvJaegerServiceName] = in.service
	}
	agent := in.values.get(envAgentHost) + in.values.get(envAgentPort)
	if _, there := set[api.EnvJaegerEndpoint]; !there && agent == "" && in.settings.JaegerEndpoint != "" {
		set[api.EnvJaegerEndpoint] = in.settings.JaegerEndpoint
	}
	return set
}

// tellIdleExporter warns of settings of an exporter that is not the one that
// netra uses.
func (in *injection) tellIdleExporter() {
	environment := in.netraEnvironment()
	exporter := sidecar.ReadNetra(env.NewReader(func(name string) string { return environment[name] })).Exporter
	var idle []string
	for name := range in.values {
		jaeger := strings.HasPrefix(name, "JAEGER_") && name != api.EnvJaegerServiceName
		otlp := strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") || strings.HasPrefix(name, "OTEL_BSP_") || strings.HasPrefix(name, "OTEL_TRACES_SAMPLER")
		if jaeger && exporter == sidecar.ExporterOTLP || otlp && exporter == sidecar.ExporterJaeger {
			idle = append(idle, key(name))
		}
	}
	if len(idle) == 0 {
		return
	}
	slices.Sort(idle)
	others := ""
	switch n := len(idle) - 1; n {
	case 0:
	case 1:
		others = fmt.Sprintf(", nor has %s", idle[1])
	default:
		others = fmt.Sprintf(", nor have %d more", n)
	}
	in.warn("annotation %s/%s has no effect%s: spans go by the exporter %s (see otel-traces-exporter, otel-exporter-otlp-endpoint)",
		api.Domain, idle[0], others, exporter)
}

// within reports whether the path is dir or below it.
func within(name, dir string) bool {
	name = path.Clean(name)
	return name == dir || strings.HasPrefix(name, dir+"/")
}
