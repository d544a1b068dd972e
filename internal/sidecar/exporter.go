package sidecar

import (
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
)

// Values of Netra's Exporter.
const (
	ExporterOTLP   = "otlp"
	ExporterJaeger = "jaeger"
	ExporterNone   = "none"
)

// Prefixes of the exporters' variables. One for traces alone is read before the
// one for all signals.
const (
	otlpPrefix   = "OTEL_EXPORTER_OTLP_"
	tracesPrefix = otlpPrefix + "TRACES_"
)

// OTLP are the settings of the exporter of that name.
type OTLP struct {
	// Endpoint is the URL that spans are posted to, with its path.
	Endpoint string
	// Headers are sent with each request, by canonical names. They hold secrets.
	Headers     map[string][]string
	Gzip        bool
	SampleRatio float64 // of new traces
	// BatchSize is not above QueueSize.
	QueueSize, BatchSize          int
	Delay, Timeout, ExportTimeout time.Duration
	// Roots, Certificate and Key name files in the container; they are empty,
	// or of the last two both are set.
	Roots, Certificate, Key File
}

// File is a file that a variable names.
type File struct{ Variable, Path string }

// Attribute says where spans come from.
type Attribute struct{ Key, Value string }

// readExporter reads which exporter it is to be.
func readExporter(r *env.Reader) string {
	exporter := ExporterJaeger
	if slices.ContainsFunc([]string{tracesPrefix + "ENDPOINT", otlpPrefix + "ENDPOINT"}, func(name string) bool { return r.String(name, "") != "" }) {
		exporter = ExporterOTLP
	}
	exporter = r.OneOf("OTEL_TRACES_EXPORTER", exporter, ExporterOTLP, ExporterJaeger, ExporterNone)
	const disabledName = "OTEL_SDK_DISABLED"
	switch disabled := r.String(disabledName, "false"); strings.ToLower(disabled) {
	case "true":
		exporter = ExporterNone
	case "false":
	default:
		r.Fault(disabledName, disabled, "true or false")
	}
	return exporter
}

func readOTLP(r *env.Reader) OTLP {
	protocol := otlpVariable(r, "PROTOCOL")
	switch v := r.String(protocol, "http/protobuf"); v {
	case "http/protobuf":
	case "grpc":
		r.Fault(protocol, v, "http/protobuf, the only protocol that netra speaks; collectors take it at port 4318, where gRPC is at 4317")
	default:
		r.Fault(protocol, v, "http/protobuf, the only protocol that netra speaks")
	}
	s := OTLP{
		Endpoint:      readEndpoint(r),
		Headers:       readHeaders(r),
		Gzip:          r.OneOf(otlpVariable(r, "COMPRESSION"), "none", "gzip", "none") == "gzip",
		SampleRatio:   readSampler(r),
		QueueSize:     r.Int("OTEL_BSP_MAX_QUEUE_SIZE", 2048, 1, maxQueue),
		Delay:         millis(r, "OTEL_BSP_SCHEDULE_DELAY", 5*time.Second),
		Timeout:       millis(r, otlpVariable(r, "TIMEOUT"), 10*time.Second),
		ExportTimeout: millis(r, "OTEL_BSP_EXPORT_TIMEOUT", 30*time.Second),
		Roots:         file(r, "CERTIFICATE"),
		Certificate:   file(r, "CLIENT_CERTIFICATE"),
		Key:           file(r, "CLIENT_KEY"),
	}
	switch {
	case s.Certificate.Path != "" && s.Key.Path == "":
		r.Fault(s.Key.Variable, "", "the file of the key, since "+s.Certificate.Variable+" is set", s.Certificate.Variable)
	case s.Key.Path != "" && s.Certificate.Path == "":
		r.Fault(s.Certificate.Variable, "", "the file of the certificate, since "+s.Key.Variable+" is set", s.Key.Variable)
	}
	const batch, queue = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_MAX_QUEUE_SIZE"
	s.BatchSize = r.Int(batch, min(512, s.QueueSize), 1, maxQueue)
	if s.BatchSize > s.QueueSize {
		r.Fault(batch, r.String(batch, ""), fmt.Sprintf("at most %s, which is %d", queue, s.QueueSize), queue)
	}
	return s
}

// maxQueue bounds the queues' sizes: at a kilobyte a span, a million of them is
// above what any sidecar is given.
const maxQueue = 1_000_000

// otlpVariable returns the name of the variable that counts: the one for traces
// alone where it is set, else the one for all signals.
func otlpVariable(r *env.Reader, name string) string {
	if own := tracesPrefix + name; r.String(own, "") != "" {
		return own
	}
	return otlpPrefix + name
}

func file(r *env.Reader, name string) File {
	variable := otlpVariable(r, name)
	return File{variable, r.String(variable, "")}
}

// millis reads a number of milliseconds that is not zero.
func millis(r *env.Reader, name string, def time.Duration) time.Duration {
	return time.Duration(r.Int(name, int(def.Milliseconds()), 1, int((24*time.Hour).Milliseconds()))) * time.Millisecond
}

// readEndpoint reads the URL that traces are posted to. The one for all signals
// is a base, the one for traces is taken as it is.
func readEndpoint(r *env.Reader) string {
	name := otlpVariable(r, "ENDPOINT")
	u := r.HTTPURL(name, "http://localhost:4318")
	if u == nil {
		return ""
	}
	if name == otlpPrefix+"ENDPOINT" {
		u = u.JoinPath("v1", "traces")
	}
	return u.String()
}

// pairs reads percent-encoded key=value pairs and gives each to add. Faults
// show an item only where it is no secret.
func pairs(r *env.Reader, name string, show bool, add func(key, value string)) {
	for _, item := range r.List(name) {
		key, value, ok := strings.Cut(item, "=")
		key, keyErr := url.PathUnescape(strings.TrimSpace(key))
		value, valueErr := url.PathUnescape(strings.TrimSpace(value))
		const allowed = "key=value pairs separated by commas, percent-encoded"
		switch faulty := !ok || key == "" || keyErr != nil || valueErr != nil; {
		case faulty && show:
			r.Fault(name, item, allowed)
		case faulty:
			r.FaultOfSecret(name, allowed)
		default:
			add(key, value)
		}
	}
}

// readHeaders reads the headers of requests to the collector.
func readHeaders(r *env.Reader) map[string][]string {
	name := otlpVariable(r, "HEADERS")
	var headers map[string][]string
	pairs(r, name, false, func(key, value string) {
		switch canonical := textproto.CanonicalMIMEHeaderKey(key); {
		case !isToken(key):
			r.FaultOfSecret(name, "headers' names: letters, digits and -_.~!#$&'*+^`|")
		case slices.Contains([]string{"Host", "Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Connection"}, canonical):
			r.Fault(name, key, "other headers: this one is netra's own")
		case strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
			r.FaultOfSecret(name, "headers' values without control characters, that of "+key+" too")
		default:
			if headers == nil {
				headers = map[string][]string{}
			}
			headers[canonical] = []string{value}
		}
	})
	return headers
}

// isToken reports whether v is a token as RFC 9110 has it.
func isToken(v string) bool {
	return v != "" && !strings.ContainsFunc(v, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c))
	})
}

// readSampler reads which share of new traces is sampled. A request that came
// with a decision keeps it, so that the samplers that follow the parent are the
// same as those that do not.
func readSampler(r *env.Reader) float64 {
	const parent = "parentbased_"
	switch r.OneOf("OTEL_TRACES_SAMPLER", parent+"always_on",
		"always_on", "always_off", "traceidratio", parent+"always_on", parent+"always_off", parent+"traceidratio") {
	case "always_off", parent + "always_off":
		return 0
	case "traceidratio", parent + "traceidratio":
		return samplerArgument(r)
	}
	return 1
}

func samplerArgument(r *env.Reader) float64 { return r.Float("OTEL_TRACES_SAMPLER_ARG", 1, 0, 1) }

// readResource reads where the spans come from. The service's name, if it is
// there, is returned apart.
func readResource(r *env.Reader) (resource []Attribute, service string) {
	pairs(r, api.EnvOTelResource, true, func(key, value string) {
		if key == "service.name" {
			service = value
			return
		}
		resource = append(resource, Attribute{key, value})
	})
	return resource, service
}
