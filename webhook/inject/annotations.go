package inject

import (
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
)

// target says which containers a variable is for.
type target int

const (
	toInit target = 1 << iota
	toNetra
	toStinger
)

// variable is an annotation that becomes an environment variable.
type variable struct {
	env   string
	to    target
	check func(r *env.Reader, name string)
}

// The kinds of values.
var (
	anyText     = func(r *env.Reader, name string) { r.String(name, "") }
	portList    = func(r *env.Reader, name string) { r.Ports(name, "*") }
	cidrs       = func(r *env.Reader, name string) { r.Prefixes(name) }
	boolean     = func(r *env.Reader, name string) { r.Bool(name, false) }
	duration    = func(r *env.Reader, name string) { r.Duration(name, 0) }
	millis      = func(r *env.Reader, name string) { r.Millis(name, 0) }
	port        = func(r *env.Reader, name string) { r.Int(name, 1, 1, 65535) }
	probability = func(r *env.Reader, name string) { r.Float(name, 1, 0, 1) }
	backend     = func(r *env.Reader, name string) { r.OneOf(name, "auto", "auto", "nftables", "iptables") }
	inference   = func(r *env.Reader, name string) { r.OneOf(name, "likely", "likely", "certain", "off") }
	logLevel    = func(r *env.Reader, name string) { r.OneOf(name, "info", "debug", "info", "warn", "error") }
)

// httpURL is what Stinger can pull from.
func httpURL(r *env.Reader, name string) {
	v := r.String(name, "")
	if u, err := url.Parse(v); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		r.Fault(name, v, "a URL that begins with http:// or https://")
	}
}

// directory is an absolute path that Stinger uses beside its own.
func directory(r *env.Reader, name string) {
	if v := r.String(name, "/app"); !path.IsAbs(v) || path.Clean(v) == "/" || within(v, fmcRoot) {
		r.Fault(name, v, "an absolute path, not / and not below "+fmcRoot)
	}
}

// known are all annotations that become variables, by their key without the
// prefix. The user id is not among them: it is netra's own.
var known = map[string]variable{
	"inbound-intercept-ports":      {api.EnvInboundPorts, toInit, portList},
	"outbound-intercept-ports":     {api.EnvOutboundPorts, toInit, portList},
	"netra-inbound-probability":    {api.EnvInboundProbability, toInit, probability},
	"netra-outbound-probability":   {api.EnvOutboundProbability, toInit, probability},
	"netra-exclude-inbound-ports":  {api.EnvExcludeInboundPorts, toInit, portList},
	"netra-exclude-outbound-ports": {api.EnvExcludeOutboundPorts, toInit, portList},
	"netra-exclude-cidrs":          {api.EnvExcludeCIDRs, toInit, cidrs},
	"netra-redirect-backend":       {api.EnvRedirectBackend, toInit, backend},

	"netra-port":          {api.EnvNetraPort, toInit | toNetra, port},
	"netra-outbound-port": {api.EnvNetraOutboundPort, toInit | toNetra, port},
	"netra-admin-port":    {api.EnvNetraAdminPort, toInit | toNetra, port},

	"http-header-tag-map":                           {"HTTP_HEADER_TAG_MAP", toNetra, anyText},
	"http-cookie-tag-map":                           {"HTTP_COOKIE_TAG_MAP", toNetra, anyText},
	"netra-logger-level":                            {"NETRA_LOGGER_LEVEL", toNetra, logLevel},
	"netra-pprof-port":                              {"NETRA_PPROF_PORT", toNetra, port},
	"netra-drain-timeout":                           {"NETRA_DRAIN_TIMEOUT", toNetra, duration},
	"netra-http-ports":                              {"NETRA_HTTP_PORTS", toNetra, portList},
	"netra-http-request-id-header-name":             {"NETRA_HTTP_REQUEST_ID_HEADER_NAME", toNetra, anyText},
	"netra-http-x-source-header-name":               {"NETRA_HTTP_X_SOURCE_HEADER_NAME", toNetra, anyText},
	"netra-http-x-source-value":                     {"NETRA_HTTP_X_SOURCE_VALUE", toNetra, anyText},
	"netra-http-tracing-ignored-paths":              {"NETRA_HTTP_TRACING_IGNORED_PATHS", toNetra, anyText},
	"netra-http-routing-enabled":                    {"NETRA_HTTP_ROUTING_ENABLED", toNetra, boolean},
	"netra-http-routing-header-name":                {"NETRA_HTTP_ROUTING_HEADER_NAME", toNetra, anyText},
	"netra-http-routing-cookie-enabled":             {"NETRA_HTTP_ROUTING_COOKIE_ENABLED", toNetra, boolean},
	"netra-http-routing-cookie-name":                {"NETRA_HTTP_ROUTING_COOKIE_NAME", toNetra, anyText},
	"netra-routing-context-expiration-milliseconds": {"NETRA_ROUTING_CONTEXT_EXPIRATION_MILLISECONDS", toNetra, millis},
	"netra-routing-context-cleanup-interval":        {"NETRA_ROUTING_CONTEXT_CLEANUP_INTERVAL", toNetra, millis},
	"netra-propagation":                             {"NETRA_PROPAGATION", toNetra, anyText},
	"netra-tracing-context-expiration-milliseconds": {"NETRA_TRACING_CONTEXT_EXPIRATION_MILLISECONDS", toNetra, millis},
	"netra-tracing-context-cleanup-interval":        {"NETRA_TRACING_CONTEXT_CLEANUP_INTERVAL", toNetra, millis},
	"netra-tracing-inference":                       {"NETRA_TRACING_INFERENCE", toNetra, inference},

	"git-url":          {api.EnvGitURL, toStinger, httpURL},
	"app-path":         {api.EnvAppPath, toStinger, directory},
	"stinger-scripts":  {api.EnvStingerScripts, toStinger, directory},
	"start-after-pull": {api.EnvStartAfterPull, toStinger, boolean},
	"stinger-grace":    {api.EnvStingerGrace, toStinger, duration},
}

// others are the annotations that are not variables.
var others = []string{
	api.AnnotationInject, api.AnnotationService, api.AnnotationContainer, api.AnnotationStatus, api.AnnotationDefinition, api.AnnotationInstallation,
}

// exporters are the prefixes of the exporters' own variables. Their names and
// values are theirs, so all of them are passed on as they are.
var exporters = []string{"jaeger-", "otel-"}

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

// variables reads the pod's annotations. What is unknown or does not parse is
// left out, with a warning: a pod that starts with a default is better than one
// that does not start, and the warning says which of the two happened.
func (in *injection) variables() variables {
	set := variables{}
	for _, key := range slices.Sorted(maps.Keys(in.pod.Annotations)) {
		name, ours := strings.CutPrefix(key, api.Domain+"/")
		if !ours || slices.Contains(others, key) {
			continue
		}
		text := in.pod.Annotations[key]
		if text == "" {
			continue // as an empty variable: the default
		}
		v, ok := lookup(name)
		if !ok {
			in.warn("annotation %s is unknown and has no effect%s", short(key), suggest(name, names()))
			continue
		}
		r := env.NewReader(func(string) string { return text })
		if v.check(r, key); r.Err() != nil {
			in.warn("%s; it has no effect", shortFault(r.Err().Error(), text))
			continue
		}
		set[v.env] = value{text, v.to}
	}
	return set
}

func lookup(name string) (variable, bool) {
	if v, ok := known[name]; ok {
		return v, true
	}
	for _, prefix := range exporters {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && isKebab(name) {
			return variable{strings.ToUpper(strings.ReplaceAll(name, "-", "_")), toNetra, anyText}, true
		}
	}
	return variable{}, false
}

func isKebab(name string) bool {
	return !strings.ContainsFunc(name, func(c rune) bool {
		return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-')
	})
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

// shortFault cuts the value inside a fault that names it whole.
func shortFault(fault, value string) string {
	return strings.ReplaceAll(fault, value, short(value))
}

// within reports whether the path is dir or below it.
func within(name, dir string) bool {
	name = path.Clean(name)
	return name == dir || strings.HasPrefix(name, dir+"/")
}
