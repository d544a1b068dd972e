package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/internal/sidecar"
	"github.com/formicarium/formicarium/netra/trace"
)

// settings are all that netra is told, apart from the JAEGER_ variables, which
// are checked with the rest and read by the Jaeger client itself. The rules are
// internal/sidecar's, since the webhook has to know them too.
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
	if flags.NArg() > 0 {
		return s, fmt.Errorf("reading the arguments: %q is none: netra takes flags only", flags.Arg(0))
	}
	r := env.NewReader(getenv)
	told := sidecar.ReadNetra(r)
	if s.serviceName == "" {
		s.serviceName = told.ServiceName
	}
	if s.serviceName == "" && !s.showVersion {
		r.Fault(api.EnvJaegerServiceName, "", "the service's name, here, in OTEL_SERVICE_NAME or by --service-name")
	}
	s.inboundPort, s.outboundPort, s.adminPort, s.pprofPort = told.InboundPort, told.OutboundPort, told.AdminPort, told.PprofPort
	s.logLevel, s.drainTimeout, s.httpPorts = told.LogLevel, told.DrainTimeout, told.HTTPPorts
	s.trace = traceSettings(told, r.String(api.EnvPodNamespace, ""))
	s.process = processTags(r, told.Resource)
	s.exporter = told.Exporter
	if s.exporter == sidecar.ExporterOTLP {
		s.otlp = otlpSettings(r, told.OTLP)
	}
	return s, r.Err()
}

func traceSettings(told sidecar.Netra, namespace string) trace.Settings {
	t := told.Trace
	s := trace.Settings{
		RequestIDHeader: t.RequestIDHeader, SourceHeader: t.SourceHeader, SourceValue: t.SourceValue,
		IgnoredPaths: t.IgnoredPaths, HeaderTags: t.HeaderTags, CookieTags: t.CookieTags,
		Expiration: t.Expiration, CleanupInterval: t.CleanupInterval, Inference: trace.Inference(t.Inference),
		Namespace: namespace, Routing: trace.Routing(told.Routing),
	}
	for _, format := range t.Propagation {
		s.Propagation = append(s.Propagation, trace.Format(format))
	}
	return s
}

// processTags returns where the spans come from: the pod, then what somebody
// named, which is a choice and wins.
func processTags(r *env.Reader, named []sidecar.Attribute) (tags []trace.Tag) {
	set := func(key, value string) {
		tag := trace.Tag{Key: key, Value: value}
		if i := slices.IndexFunc(tags, func(t trace.Tag) bool { return t.Key == key }); i >= 0 {
			tags[i] = tag
			return
		}
		tags = append(tags, tag)
	}
	for _, tag := range podTags {
		if value := r.String(tag.variable, ""); value != "" {
			set(tag.key, value)
		}
	}
	for _, a := range named {
		set(a.Key, a.Value)
	}
	return tags
}
