package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

// Values of OTEL_TRACES_EXPORTER.
const (
	exporterOTLP   = "otlp"
	exporterJaeger = "jaeger"
	exporterNone   = "none"
)

// secret stands in faults for values that must not be logged.
const secret = "(not shown)"

// newExporter starts the exporter. The returned function ends it.
func (s settings) newExporter(set *metrics.Set, logger *slog.Logger) (trace.Exporter, func(context.Context) error, error) {
	switch s.exporter {
	case exporterOTLP:
		e := trace.NewOTLP(s.otlp, s.serviceName, s.process, version.String(), set, logger)
		return e, e.Close, nil
	case exporterNone:
		return trace.Discard{}, func(context.Context) error { return nil }, nil
	default:
		return trace.NewJaeger(s.serviceName, s.process, set, logger)
	}
}

// readExporter reads which exporter it is to be, and the settings of that one:
// what another one would be told is not looked at.
func (s *settings) readExporter(r *env.Reader) {
	s.exporter = exporterJaeger
	if slices.ContainsFunc([]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"}, func(name string) bool { return r.String(name, "") != "" }) {
		s.exporter = exporterOTLP
	}
	s.exporter = r.OneOf("OTEL_TRACES_EXPORTER", s.exporter, exporterOTLP, exporterJaeger, exporterNone)
	switch disabled := r.String("OTEL_SDK_DISABLED", "false"); strings.ToLower(disabled) {
	case "true":
		s.exporter = exporterNone
	case "false":
	default:
		r.Fault("OTEL_SDK_DISABLED", disabled, "true or false")
	}
	switch s.exporter {
	case exporterOTLP:
		s.otlp = readOTLP(r)
	case exporterJaeger:
		checkJaeger(r)
	}
}

func readOTLP(r *env.Reader) trace.OTLPSettings {
	protocol := otlpVariable(r, "PROTOCOL")
	switch v := r.String(protocol, "http/protobuf"); v {
	case "http/protobuf":
	case "grpc":
		r.Fault(protocol, v, "http/protobuf, the only protocol that netra speaks; collectors take it at port 4318, where gRPC is at 4317")
	default:
		r.Fault(protocol, v, "http/protobuf, the only protocol that netra speaks")
	}
	s := trace.OTLPSettings{
		Endpoint:      readEndpoint(r),
		Headers:       readHeaders(r),
		Gzip:          r.OneOf(otlpVariable(r, "COMPRESSION"), "none", "gzip", "none") == "gzip",
		TLS:           readTLS(r),
		SampleRatio:   readSampler(r),
		QueueSize:     r.Int("OTEL_BSP_MAX_QUEUE_SIZE", 2048, 1, maxQueue),
		Delay:         millis(r, "OTEL_BSP_SCHEDULE_DELAY", 5*time.Second),
		Timeout:       millis(r, otlpVariable(r, "TIMEOUT"), 10*time.Second),
		ExportTimeout: millis(r, "OTEL_BSP_EXPORT_TIMEOUT", 30*time.Second),
	}
	const batch = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
	s.BatchSize = r.Int(batch, min(512, s.QueueSize), 1, maxQueue)
	if s.BatchSize > s.QueueSize {
		r.Fault(batch, r.String(batch, ""), fmt.Sprintf("at most OTEL_BSP_MAX_QUEUE_SIZE, which is %d", s.QueueSize))
	}
	return s
}

// maxQueue bounds the queues' sizes: at a kilobyte a span, a million of them is
// above what any sidecar is given.
const maxQueue = 1_000_000

// otlpVariable returns the name of the variable that counts: the one for traces
// alone where it is set, else the one for all signals.
func otlpVariable(r *env.Reader, name string) string {
	if own := "OTEL_EXPORTER_OTLP_TRACES_" + name; r.String(own, "") != "" {
		return own
	}
	return "OTEL_EXPORTER_OTLP_" + name
}

// millis reads a number of milliseconds that is not zero.
func millis(r *env.Reader, name string, def time.Duration) time.Duration {
	return time.Duration(r.Int(name, int(def.Milliseconds()), 1, int((24*time.Hour).Milliseconds()))) * time.Millisecond
}

// readEndpoint reads the URL that traces are posted to. The one for all signals
// is a base, the one for traces is taken as it is.
func readEndpoint(r *env.Reader) string {
	name := otlpVariable(r, "ENDPOINT")
	u := httpURL(r, name, "http://localhost:4318")
	if u == nil {
		return ""
	}
	if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		u = u.JoinPath("v1", "traces")
	}
	return u.String()
}

// httpURL reads a URL. It returns nil where there is none, or a fault.
func httpURL(r *env.Reader, name, def string) *url.URL {
	v := r.String(name, def)
	if v == "" {
		return nil
	}
	u, err := url.Parse(v)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" {
		return u
	}
	if strings.Contains(v, "@") {
		v = secret
	}
	r.Fault(name, v, "a URL that begins with http:// or https://")
	return nil
}

// pairs reads percent-encoded key=value pairs and gives each to add. Faults
// show an item only where it is no secret.
func pairs(r *env.Reader, name string, show bool, add func(key, value string)) {
	for _, item := range r.List(name) {
		key, value, ok := strings.Cut(item, "=")
		key, keyErr := url.PathUnescape(strings.TrimSpace(key))
		value, valueErr := url.PathUnescape(strings.TrimSpace(value))
		if !ok || key == "" || keyErr != nil || valueErr != nil {
			if !show {
				item = secret
			}
			r.Fault(name, item, "key=value pairs separated by commas, percent-encoded")
			continue
		}
		add(key, value)
	}
}

// readHeaders reads the headers of requests to the collector.
func readHeaders(r *env.Reader) http.Header {
	name := otlpVariable(r, "HEADERS")
	var headers http.Header
	pairs(r, name, false, func(key, value string) {
		switch canonical := http.CanonicalHeaderKey(key); {
		case !isToken(key):
			r.Fault(name, secret, "headers' names: letters, digits and -_.~!#$&'*+^`|")
		case slices.Contains([]string{"Host", "Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Connection"}, canonical):
			r.Fault(name, key, "other headers: this one is netra's own")
		case strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
			r.Fault(name, secret, "headers' values without control characters, that of "+key+" too")
		default:
			if headers == nil {
				headers = http.Header{}
			}
			headers.Set(key, value)
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

// readTLS reads the certificates. It returns nil where none are named.
func readTLS(r *env.Reader) *tls.Config {
	var config tls.Config
	roots, certificate, key := otlpVariable(r, "CERTIFICATE"), otlpVariable(r, "CLIENT_CERTIFICATE"), otlpVariable(r, "CLIENT_KEY")
	if file := r.String(roots, ""); file != "" {
		config.RootCAs = x509.NewCertPool()
		if bundle, err := os.ReadFile(file); err != nil {
			r.Fault(roots, file, fmt.Sprintf("a file of certificates (%v)", err))
		} else if !config.RootCAs.AppendCertsFromPEM(bundle) {
			r.Fault(roots, file, "a file of PEM certificates; it holds none")
		}
	}
	certificateFile, keyFile := r.String(certificate, ""), r.String(key, "")
	switch {
	case certificateFile != "" && keyFile != "":
		pair, err := tls.LoadX509KeyPair(certificateFile, keyFile)
		if err != nil {
			r.Fault(certificate, certificateFile, fmt.Sprintf("a PEM certificate whose key is in the file that %s names (%v)", key, err))
		}
		config.Certificates = []tls.Certificate{pair}
	case certificateFile != "":
		r.Fault(key, "", "the file of the key, since "+certificate+" is set")
	case keyFile != "":
		r.Fault(certificate, "", "the file of the certificate, since "+key+" is set")
	}
	if config.RootCAs == nil && config.Certificates == nil {
		return nil
	}
	return &config
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
		return r.Float("OTEL_TRACES_SAMPLER_ARG", 1, 0, 1)
	}
	return 1
}

// readResource reads where the spans come from: the pod, then what
// OTEL_RESOURCE_ATTRIBUTES says, which is somebody's choice and wins. The
// service's name, if it is there, is returned apart.
func readResource(r *env.Reader) (resource []trace.Tag, service string) {
	set := func(key, value string) {
		tag := trace.Tag{Key: key, Value: value}
		if i := slices.IndexFunc(resource, func(t trace.Tag) bool { return t.Key == key }); i >= 0 {
			resource[i] = tag
			return
		}
		resource = append(resource, tag)
	}
	for _, tag := range podTags {
		if value := r.String(tag.variable, ""); value != "" {
			set(tag.key, value)
		}
	}
	pairs(r, "OTEL_RESOURCE_ATTRIBUTES", true, func(key, value string) {
		if key == "service.name" {
			service = value
			return
		}
		set(key, value)
	})
	return resource, service
}
