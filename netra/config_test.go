package main

import (
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/sidecar"
	"github.com/formicarium/formicarium/netra/trace"
)

func read(vars map[string]string, args ...string) (settings, error) {
	return readSettings(args, func(name string) string { return vars[name] }, io.Discard)
}

func TestDefaults(t *testing.T) {
	got, err := read(map[string]string{"JAEGER_SERVICE_NAME": "orders"})
	if err != nil {
		t.Fatal(err)
	}
	want := settings{
		serviceName: "orders", inboundPort: 14956, outboundPort: 14955, adminPort: 14958, logLevel: "info", drainTimeout: 10 * time.Second, exporter: "jaeger",
		trace: trace.Settings{
			RequestIDHeader: "X-Request-Id", SourceHeader: "X-Source", Propagation: []trace.Format{"w3c", "jaeger"},
			HeaderTags: map[string]string{}, CookieTags: map[string]string{}, Expiration: 5 * time.Second, CleanupInterval: time.Second, Inference: trace.InferLikely,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("settings\n%+v\nwant\n%+v", got, want)
	}
}

func TestEveryVariable(t *testing.T) {
	got, err := read(map[string]string{
		"OTEL_SERVICE_NAME": "orders", "NETRA_PORT": "1", "NETRA_OUTBOUND_PORT": "2", "NETRA_ADMIN_PORT": "3", "NETRA_PPROF_PORT": "4",
		"NETRA_LOGGER_LEVEL": "debug", "NETRA_DRAIN_TIMEOUT": "1m", "NETRA_HTTP_PORTS": "80, 8080", "NETRA_PROPAGATION": "b3, b3multi",
		"NETRA_HTTP_REQUEST_ID_HEADER_NAME": "X-Id", "NETRA_HTTP_X_SOURCE_HEADER_NAME": "X-From", "NETRA_HTTP_X_SOURCE_VALUE": "orders",
		"NETRA_TRACING_CONTEXT_EXPIRATION_MILLISECONDS": "100", "NETRA_TRACING_CONTEXT_CLEANUP_INTERVAL": "200", "NETRA_TRACING_INFERENCE": "certain",
		"NETRA_HTTP_TRACING_IGNORED_PATHS": "/a,/b", "HTTP_HEADER_TAG_MAP": "X-Tenant:tenant, X-B:b", "HTTP_COOKIE_TAG_MAP": "Sid:session", "POD_NAMESPACE": "shop", "POD_NAME": "orders-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := settings{
		serviceName: "orders", inboundPort: 1, outboundPort: 2, adminPort: 3, pprofPort: 4, logLevel: "debug", drainTimeout: time.Minute, httpPorts: []uint16{80, 8080}, exporter: "jaeger",
		trace: trace.Settings{
			RequestIDHeader: "X-Id", SourceHeader: "X-From", SourceValue: "orders", Propagation: []trace.Format{"b3", "b3multi"},
			HeaderTags: map[string]string{"x-tenant": "tenant", "x-b": "b"}, CookieTags: map[string]string{"Sid": "session"},
			IgnoredPaths: []string{"/a", "/b"}, Expiration: 100 * time.Millisecond, CleanupInterval: 200 * time.Millisecond, Inference: trace.InferCertain, Namespace: "shop",
		},
		process: []trace.Tag{{Key: "k8s.namespace.name", Value: "shop"}, {Key: "k8s.pod.name", Value: "orders-1"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("settings\n%+v\nwant\n%+v", got, want)
	}
}

func TestServiceName(t *testing.T) {
	vars := map[string]string{"JAEGER_SERVICE_NAME": "jaeger", "OTEL_SERVICE_NAME": "otel"}
	if s, err := read(vars, "--service-name", "flag"); err != nil || s.serviceName != "flag" {
		t.Errorf("with all three: %q, %v", s.serviceName, err)
	}
	if s, err := read(vars); err != nil || s.serviceName != "jaeger" {
		t.Errorf("with both variables: %q, %v", s.serviceName, err)
	}
}

func TestFaultsAreAllNamed(t *testing.T) {
	faulty := map[string]string{
		"NETRA_PORT": "0", "NETRA_ADMIN_PORT": "14955", "NETRA_PPROF_PORT": "x", "NETRA_LOGGER_LEVEL": "loud", "NETRA_DRAIN_TIMEOUT": "10",
		"NETRA_HTTP_PORTS": "http", "NETRA_PROPAGATION": "w3c,zipkin", "NETRA_HTTP_REQUEST_ID_HEADER_NAME": "X Id", "NETRA_HTTP_X_SOURCE_VALUE": "a\r\nb",
		"NETRA_TRACING_CONTEXT_EXPIRATION_MILLISECONDS": "5s", "NETRA_TRACING_CONTEXT_CLEANUP_INTERVAL": "0", "NETRA_TRACING_INFERENCE": "on",
		"HTTP_HEADER_TAG_MAP": "X-Tenant", "HTTP_COOKIE_TAG_MAP": ":tag", "JAEGER_TAGS": "a=b,c",
	}
	_, err := read(faulty)
	if err == nil {
		t.Fatal("no error")
	}
	for name := range faulty {
		if !strings.Contains(err.Error(), name+"=") {
			t.Errorf("%s is not named in:\n%v", name, err)
		}
	}
	if !strings.Contains(err.Error(), "JAEGER_SERVICE_NAME") {
		t.Errorf("a missing service name is not an error: %v", err)
	}
}

// The formats and ways to join that may be asked for are those that there are.
func TestNamesAreThoseOfTrace(t *testing.T) {
	var list []string
	for _, f := range []trace.Format{trace.W3C, trace.Jaeger, trace.B3, trace.B3Multi} {
		list = append(list, string(f))
	}
	if !slices.Equal(list, sidecar.Formats) {
		t.Errorf("trace has %q, the variable %q", list, sidecar.Formats)
	}
	if list := []string{string(trace.InferLikely), string(trace.InferCertain), string(trace.InferOff)}; !slices.Equal(list, sidecar.Inferences) {
		t.Errorf("trace has %q, the variable %q", list, sidecar.Inferences)
	}
}

func TestArgumentsThatAreNoFlags(t *testing.T) {
	if _, err := read(map[string]string{"JAEGER_SERVICE_NAME": "orders"}, "orders", "--service-name", "x"); err == nil || !strings.Contains(err.Error(), `"orders"`) {
		t.Errorf("the error is %v", err)
	}
}
