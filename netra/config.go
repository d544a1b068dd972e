package main

import (
	"flag"
	"io"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/netra/trace"
)

// settings are all that netra is told, apart from the JAEGER_ variables, which
// are checked here and read by the Jaeger client itself.
type settings struct {
	showVersion  bool
	serviceName  string
	inboundPort  int
	outboundPort int
	adminPort    int
	pprofPort    int // 0: none
	logLevel     string
	drainTimeout time.Duration
	httpPorts    []uint16 // none: all
	loops        int      // event loops, from the machine
	trace        trace.Settings
	process      []trace.Tag // of every span
	exporter     string
	otlp         trace.OTLPSettings
}

// podTags are tags of the process that the pod's own fields become.
var podTags = [...]struct{ key, variable string }{{trace.TagNamespace, api.EnvPodNamespace}, {trace.TagPod, api.EnvPodName}}

// readSettings reads the arguments and the environment, and reports all faults
// of the latter at once.
func readSettings(args []string, getenv func(string) string, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("netra", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.serviceName, "service-name", "", "the service's `name` in traces (default $JAEGER_SERVICE_NAME, $OTEL_SERVICE_NAME, service.name of $OTEL_RESOURCE_ATTRIBUTES)")
	flags.BoolVar(&s.showVersion, "version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	r := env.NewReader(getenv)
	process, service := readResource(r)
	s.process = process
	if s.serviceName == "" {
		s.serviceName = r.String(api.EnvJaegerServiceName, r.String("OTEL_SERVICE_NAME", service))
	}
	if s.serviceName == "" && !s.showVersion {
		r.Fault(api.EnvJaegerServiceName, "", "the service's name, here, in OTEL_SERVICE_NAME or by --service-name")
	}
	s.inboundPort = r.Int(api.EnvNetraPort, api.NetraInboundPort, 1, 65535)
	s.outboundPort = r.Int(api.EnvNetraOutboundPort, api.NetraOutboundPort, 1, 65535)
	s.adminPort = r.Int(api.EnvNetraAdminPort, api.NetraAdminPort, 1, 65535)
	s.pprofPort = r.Int("NETRA_PPROF_PORT", 0, 1, 65535)
	s.logLevel = r.OneOf("NETRA_LOGGER_LEVEL", "info", "debug", "info", "warn", "error")
	s.drainTimeout = r.Duration("NETRA_DRAIN_TIMEOUT", 10*time.Second)
	s.httpPorts, _ = r.Ports("NETRA_HTTP_PORTS", "*")
	s.checkPorts(r)
	s.trace = readTrace(r)
	s.trace.Routing = readRouting(r, s.trace)
	s.readExporter(r)
	return s, r.Err()
}

// checkPorts reports ports that are used twice.
func (s settings) checkPorts(r *env.Reader) {
	used := map[int]string{0: ""}
	for _, p := range []struct {
		name string
		port int
	}{
		{api.EnvNetraPort, s.inboundPort},
		{api.EnvNetraOutboundPort, s.outboundPort},
		{api.EnvNetraAdminPort, s.adminPort},
		{"NETRA_PPROF_PORT", s.pprofPort},
	} {
		if other := used[p.port]; other != "" {
			r.Fault(p.name, r.String(p.name, ""), "a port other than "+other+"'s")
		}
		if p.port != 0 {
			used[p.port] = p.name
		}
	}
}

func readTrace(r *env.Reader) trace.Settings {
	s := trace.Settings{
		RequestIDHeader: headerName(r, "NETRA_HTTP_REQUEST_ID_HEADER_NAME", "X-Request-Id"),
		SourceHeader:    headerName(r, "NETRA_HTTP_X_SOURCE_HEADER_NAME", "X-Source"),
		SourceValue:     r.String("NETRA_HTTP_X_SOURCE_VALUE", ""),
		IgnoredPaths:    r.List("NETRA_HTTP_TRACING_IGNORED_PATHS"),
		HeaderTags:      tagMap(r, "HTTP_HEADER_TAG_MAP", strings.ToLower),
		CookieTags:      tagMap(r, "HTTP_COOKIE_TAG_MAP", func(name string) string { return name }),
		Expiration:      r.Millis("NETRA_TRACING_CONTEXT_EXPIRATION_MILLISECONDS", 5*time.Second),
		CleanupInterval: r.Millis("NETRA_TRACING_CONTEXT_CLEANUP_INTERVAL", time.Second),
		Inference:       trace.Inference(r.OneOf("NETRA_TRACING_INFERENCE", string(trace.InferLikely), string(trace.InferLikely), string(trace.InferCertain), string(trace.InferOff))),
		Namespace:       r.String(api.EnvPodNamespace, ""),
		Propagation:     []trace.Format{trace.W3C, trace.Jaeger},
	}
	if strings.ContainsFunc(s.SourceValue, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		r.Fault("NETRA_HTTP_X_SOURCE_VALUE", s.SourceValue, "a header's value, without control characters")
	}
	if s.CleanupInterval == 0 {
		r.Fault("NETRA_TRACING_CONTEXT_CLEANUP_INTERVAL", "0", "at least 1 millisecond")
	}
	const name = "NETRA_PROPAGATION"
	if list := r.List(name); list != nil {
		s.Propagation = nil
		for _, item := range list {
			switch f := trace.Format(item); f {
			case trace.W3C, trace.Jaeger, trace.B3, trace.B3Multi:
				s.Propagation = append(s.Propagation, f)
			default:
				r.Fault(name, item, "w3c, jaeger, b3 or b3multi, separated by commas")
			}
		}
	}
	return s
}

// headerName reads the name of a header field.
func headerName(r *env.Reader, name, def string) string {
	v := r.String(name, def)
	if strings.Trim(v, "-_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		r.Fault(name, v, "a header's name: letters, digits, - and _")
		return def
	}
	return v
}

// tagMap reads name:tag pairs.
func tagMap(r *env.Reader, name string, key func(string) string) map[string]string {
	tags := map[string]string{}
	for _, item := range r.List(name) {
		from, tag, ok := strings.Cut(item, ":")
		from, tag = strings.TrimSpace(from), strings.TrimSpace(tag)
		if !ok || from == "" || tag == "" {
			r.Fault(name, item, "name:tag pairs separated by commas")
			continue
		}
		tags[key(from)] = tag
	}
	return tags
}
