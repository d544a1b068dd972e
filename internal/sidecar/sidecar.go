// Package sidecar reads what netra and netra-init are told by the environment,
// and holds the rules for it:
//
//	r := env.NewReader(os.Getenv)
//	settings := sidecar.ReadNetra(r)
//	if err := r.Err(); err != nil { … }
//
// The programs read their own environment with it when they start. The webhook
// asks Check about the environment that a pod's annotations ask for, before
// there is a container, so that what a program would refuse is a warning and
// not a container that never starts. One set of rules serves both.
//
// What the rules give are plain values, which each program makes its own types
// of. Whatever takes the container itself, such as reading a certificate's file,
// is left to the program.
package sidecar

import (
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
)

// Netra is what netra is told. The package comment of netra says what each
// variable means.
type Netra struct {
	// ServiceName is empty where no variable says it.
	ServiceName                          string
	InboundPort, OutboundPort, AdminPort int
	PprofPort                            int // 0: none
	LogLevel                             string
	DrainTimeout                         time.Duration
	HTTPPorts                            []uint16 // none: all
	Trace                                Trace
	Routing                              Routing // zero where nothing is routed
	// Resource are the attributes that somebody named, in their order.
	Resource []Attribute
	// Exporter is one of the constants; OTLP is read for ExporterOTLP only.
	Exporter string
	OTLP     OTLP
}

// Trace says how requests are joined and what their spans hold.
type Trace struct {
	RequestIDHeader, SourceHeader, SourceValue string
	IgnoredPaths                               []string
	HeaderTags, CookieTags                     map[string]string // headers in lower case
	Expiration, CleanupInterval                time.Duration
	Inference                                  string // one of Inferences
	// Propagation are some of Formats.
	Propagation []string
}

// Formats are the ways to write a span's context into headers.
var Formats = []string{"w3c", "jaeger", "b3", "b3multi"}

// Inferences say how sure to be before a request without headers is joined, the
// default first.
var Inferences = []string{"likely", "certain", "off"}

// ReadNetra reads the settings of netra. Of the exporters it reads the one that
// is chosen: what another one would be told is not looked at.
func ReadNetra(r *env.Reader) Netra {
	s := readNetra(r)
	switch s.Exporter {
	case ExporterOTLP:
		s.OTLP = readOTLP(r)
	case ExporterJaeger:
		checkJaeger(r)
	}
	return s
}

// readNetra reads all but the exporters' own settings.
func readNetra(r *env.Reader) Netra {
	s := Netra{
		InboundPort:  r.Int(api.EnvNetraPort, api.NetraInboundPort, 1, 65535),
		OutboundPort: r.Int(api.EnvNetraOutboundPort, api.NetraOutboundPort, 1, 65535),
		AdminPort:    r.Int(api.EnvNetraAdminPort, api.NetraAdminPort, 1, 65535),
		PprofPort:    r.Int(api.EnvNetraPprofPort, 0, 1, 65535),
		LogLevel:     r.OneOf("NETRA_LOGGER_LEVEL", "info", "debug", "info", "warn", "error"),
		DrainTimeout: r.Duration("NETRA_DRAIN_TIMEOUT", 10*time.Second),
	}
	s.HTTPPorts, _ = r.Ports("NETRA_HTTP_PORTS", "*")
	checkPorts(r, s.InboundPort, s.OutboundPort, s.AdminPort, s.PprofPort)
	var service string
	s.Resource, service = readResource(r)
	s.ServiceName = r.String(api.EnvJaegerServiceName, r.String(api.EnvOTelServiceName, service))
	s.Trace = readTrace(r)
	s.Routing = readRouting(r, s.Trace)
	s.Exporter = readExporter(r)
	return s
}

// portNames are the variables of netra's ports, in the order that checkPorts
// takes them in.
var portNames = []string{api.EnvNetraPort, api.EnvNetraOutboundPort, api.EnvNetraAdminPort, api.EnvNetraPprofPort}

// checkPorts reports ports that are used twice; 0 is none.
func checkPorts(r *env.Reader, ports ...int) {
	used := map[int]string{}
	for i, port := range ports {
		if port == 0 {
			continue
		}
		name := portNames[i]
		if other := used[port]; other != "" {
			r.Fault(name, r.String(name, ""), "a port other than "+other+"'s", other)
		}
		used[port] = name
	}
}

func readTrace(r *env.Reader) Trace {
	const (
		source    = "NETRA_HTTP_X_SOURCE_VALUE"
		cleanup   = "NETRA_TRACING_CONTEXT_CLEANUP_INTERVAL"
		propagate = "NETRA_PROPAGATION"
	)
	s := Trace{
		RequestIDHeader: headerName(r, requestIDVariable, "X-Request-Id"),
		SourceHeader:    headerName(r, sourceVariable, "X-Source"),
		SourceValue:     r.String(source, ""),
		IgnoredPaths:    r.List("NETRA_HTTP_TRACING_IGNORED_PATHS"),
		HeaderTags:      tagMap(r, "HTTP_HEADER_TAG_MAP", strings.ToLower),
		CookieTags:      tagMap(r, "HTTP_COOKIE_TAG_MAP", func(name string) string { return name }),
		Expiration:      r.Millis("NETRA_TRACING_CONTEXT_EXPIRATION_MILLISECONDS", 5*time.Second),
		CleanupInterval: r.Millis(cleanup, time.Second),
		Inference:       r.OneOf("NETRA_TRACING_INFERENCE", Inferences[0], Inferences...),
		Propagation:     []string{"w3c", "jaeger"},
	}
	if strings.ContainsFunc(s.SourceValue, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		r.Fault(source, s.SourceValue, "a header's value, without control characters")
	}
	if s.CleanupInterval == 0 {
		r.Fault(cleanup, "0", "at least 1 millisecond")
	}
	if list := r.List(propagate); list != nil {
		s.Propagation = nil
		for _, item := range list {
			if !slices.Contains(Formats, item) {
				r.Fault(propagate, item, "w3c, jaeger, b3 or b3multi, separated by commas")
				continue
			}
			s.Propagation = append(s.Propagation, item)
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
