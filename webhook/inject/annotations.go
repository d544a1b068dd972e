package inject

import (
	"maps"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// target says what a setting is for.
type target int

const (
	toInit target = 1 << iota
	toNetra
	toStinger
	toPod // it becomes a field of the containers, not a variable
)

// setting is an annotation that sets something.
type setting struct {
	// env is the environment variable. The settings for toPod have names of the
	// same form, those of the webhook's own settings.
	env string
	to  target
}

// The settings that become fields of the containers.
const (
	settingPullPolicy = "IMAGE_PULL_POLICY"
	netraPrefix       = "NETRA" // of NETRA_CPU_REQUEST and its like, see ReadResources
)

// known are all annotations that set something, by their key without the
// prefix: the variable's name in lower case, with hyphens.
var known = byKey(map[target][]string{
	toInit: {
		api.EnvInboundPorts, api.EnvOutboundPorts, api.EnvInboundProbability, api.EnvOutboundProbability,
		api.EnvExcludeInboundPorts, api.EnvExcludeOutboundPorts, api.EnvExcludeCIDRs, api.EnvRedirectBackend,
	},
	toInit | toNetra: {api.EnvNetraPort, api.EnvNetraOutboundPort, api.EnvNetraAdminPort},
	toNetra: append(tracesToo("ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "PROTOCOL"),
		"NETRA_LOGGER_LEVEL", api.EnvNetraPprofPort, "NETRA_DRAIN_TIMEOUT", "NETRA_HTTP_PORTS", "NETRA_PROPAGATION",
		"NETRA_HTTP_REQUEST_ID_HEADER_NAME", "NETRA_HTTP_X_SOURCE_HEADER_NAME", "NETRA_HTTP_X_SOURCE_VALUE",
		"NETRA_TRACING_CONTEXT_EXPIRATION_MILLISECONDS", "NETRA_TRACING_CONTEXT_CLEANUP_INTERVAL", "NETRA_TRACING_INFERENCE",
		"NETRA_HTTP_TRACING_IGNORED_PATHS", "HTTP_HEADER_TAG_MAP", "HTTP_COOKIE_TAG_MAP",
		"NETRA_HTTP_ROUTING_ENABLED", "NETRA_HTTP_ROUTING_HEADER_NAME", "NETRA_HTTP_ROUTING_COOKIE_ENABLED", "NETRA_HTTP_ROUTING_COOKIE_NAME",
		"NETRA_ROUTING_CONTEXT_EXPIRATION_MILLISECONDS", "NETRA_ROUTING_CONTEXT_CLEANUP_INTERVAL",
		"OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED", api.EnvOTelServiceName, api.EnvOTelResource,
		"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
		"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
		api.EnvJaegerServiceName, api.EnvJaegerEndpoint, "JAEGER_USER", envPassword, envAgentHost, envAgentPort,
		"JAEGER_TAGS", "JAEGER_DISABLED", "JAEGER_SAMPLER_TYPE", "JAEGER_SAMPLER_PARAM",
		"JAEGER_SAMPLING_ENDPOINT", "JAEGER_SAMPLER_MANAGER_HOST_PORT", "JAEGER_SAMPLER_REFRESH_INTERVAL", "JAEGER_SAMPLER_MAX_OPERATIONS",
		"JAEGER_REPORTER_MAX_QUEUE_SIZE", "JAEGER_REPORTER_FLUSH_INTERVAL", "JAEGER_REPORTER_LOG_SPANS",
		"JAEGER_REPORTER_ATTEMPT_RECONNECTING_DISABLED", "JAEGER_REPORTER_ATTEMPT_RECONNECT_INTERVAL",
		"JAEGER_RPC_METRICS", "JAEGER_TRACEID_128BIT"),
	toStinger: {
		api.EnvGitURL, api.EnvAppPath, api.EnvStingerScripts, api.EnvStartAfterPull, api.EnvStingerGrace, api.EnvStingerWaitForCode,
		api.EnvStingerReload, api.EnvStingerListen, api.EnvStingerBuildTimeout,
	},
	toPod: {
		settingPullPolicy,
		netraPrefix + cpuRequest, netraPrefix + cpuLimit, netraPrefix + memoryRequest, netraPrefix + memoryLimit,
	},
})

const (
	// Jaeger's agent, which the installation's collector would win over.
	envAgentHost = "JAEGER_AGENT_HOST"
	envAgentPort = "JAEGER_AGENT_PORT"

	envPassword = "JAEGER_PASSWORD"
)

// notSettable says why a variable has no annotation, and names what people look
// for in its place.
var notSettable = reasonsByKey(map[string][]string{
	"netra's user is not a pod's to choose": {api.EnvNetraUID},
	"images are not a pod's to choose":      {"NETRA_IMAGE", "NETRA_INIT_IMAGE", "STINGER_IMAGE"},
	"it comes from the pod itself":          {api.EnvPodName, api.EnvPodNamespace},
	"netra's container has no such file": {
		"OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY",
		"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
	},
	"it would look like the application's own proxy, which netra does not set":                 {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"},
	"netra does not read it; netra-propagation names the trace headers":                        {"JAEGER_PROPAGATION", "OTEL_PROPAGATORS"},
	"each supervised container gets a port of its own":                                         {api.EnvStingerPort},
	"a Stinger that is injected keeps its state on a volume of its own":                        {api.EnvStingerState},
	"a Stinger that is injected listens where the hub finds it, at all of the pod's addresses": {"STINGER_BIND"},
	"who may give a Stinger orders is not a pod's to choose":                                   {api.EnvStingerAuth},
	"a Stinger that is injected has its identity from a volume of its own":                     {api.EnvStingerIdentity},
})

// others are the annotations that set nothing in a container.
var others = []string{
	api.AnnotationInject, api.AnnotationService, api.AnnotationContainer, api.AnnotationStatus, api.AnnotationDefinition, api.AnnotationInstallation,
}

// key returns the annotation's key, without the prefix, for a variable.
func key(env string) string { return strings.ToLower(strings.ReplaceAll(env, "_", "-")) }

func byKey(settings map[target][]string) map[string]setting {
	table := map[string]setting{}
	for to, names := range settings {
		for _, env := range names {
			table[key(env)] = setting{env, to}
		}
	}
	return table
}

func reasonsByKey(reasons map[string][]string) map[string]string {
	table := map[string]string{}
	for reason, names := range reasons {
		for _, env := range names {
			table[key(env)] = reason
		}
	}
	return table
}

// tracesToo returns the names of OTLP's variables, for all signals and for
// traces alone.
func tracesToo(suffixes ...string) (names []string) {
	for _, suffix := range suffixes {
		names = append(names, "OTEL_EXPORTER_OTLP_"+suffix, "OTEL_EXPORTER_OTLP_TRACES_"+suffix)
	}
	return names
}

// names returns all keys without the prefix, sorted.
func names() []string {
	list := slices.Collect(maps.Keys(known))
	for _, key := range others {
		list = append(list, strings.TrimPrefix(key, api.Domain+"/"))
	}
	slices.Sort(list)
	return list
}

// asked reads what the pod's annotations ask for, by the names of the variables.
// What is unknown or cannot be set is left out, with a warning.
func (in *injection) asked() variables {
	set := variables{}
	for _, annotation := range slices.Sorted(maps.Keys(in.pod.Annotations)) {
		name, ours := strings.CutPrefix(annotation, api.Domain+"/")
		text := in.pod.Annotations[annotation]
		if !ours || slices.Contains(others, annotation) || text == "" {
			continue // an empty variable is its default, and so is this
		}
		s, ok := known[name]
		reason, fixed := notSettable[name]
		switch {
		case fixed:
			in.slip("annotation %s has no effect: %s", annotation, reason)
		case !ok && in.slips < maxSlips: // looking for a near name takes time
			in.slip("annotation %s is unknown and has no effect%s", short(annotation), suggest(name, names()))
		case !ok:
			in.slip("")
		default:
			set[s.env] = value{text, s.to}
		}
	}
	return set
}

// variables holds, for each variable that the pod's annotations set, its value
// and its target.
type variables map[string]value

type value struct {
	text string
	to   target
}

// of returns the variables for one target.
func (v variables) of(to target) map[string]string {
	set := map[string]string{}
	for name, value := range v {
		if value.to&to != 0 {
			set[name] = value.text
		}
	}
	return set
}

// get returns the variable, empty where it is not set.
func (v variables) get(name string) string { return v[name].text }
