package sidecar

import (
	"slices"
	"testing"

	"github.com/formicarium/formicarium/internal/env"
)

// checked returns the variables at fault, and those that they do not go
// together with.
func checked(vars map[string]string) (names, others []string) {
	for _, f := range Check(func(name string) string { return vars[name] }) {
		names = append(names, f.Name)
		others = append(others, f.Others...)
	}
	slices.Sort(names)
	slices.Sort(others)
	return slices.Compact(names), slices.Compact(others)
}

func TestNothingIsWrongWithNothing(t *testing.T) {
	if names, _ := checked(nil); names != nil {
		t.Errorf("faults of %v", names)
	}
}

// What the programs would not look at is wrong all the same.
func TestCheckLooksAtEverything(t *testing.T) {
	for _, test := range []struct {
		vars map[string]string
		want string
	}{
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "JAEGER_TAGS": "zone"}, "JAEGER_TAGS"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": "5s"}, "OTEL_BSP_SCHEDULE_DELAY"},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_ENDPOINT": "c"}, "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{map[string]string{"OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG"},
	} {
		getenv := func(name string) string { return test.vars[name] }
		if names, _ := checked(test.vars); !slices.Equal(names, []string{test.want}) {
			t.Errorf("%v: faults of %v, want %s", test.vars, names, test.want)
		}
		r := env.NewReader(getenv)
		if ReadNetra(r); r.Err() != nil {
			t.Errorf("%v: netra itself refuses it: %v", test.vars, r.Err())
		}
	}
}

// Where a default is at fault, the variable that is set is named beside it.
func TestFaultsNameWhatTheyDoNotGoTogetherWith(t *testing.T) {
	for _, test := range []struct {
		name, value, fault string
	}{
		{"NETRA_PORT", "14955", "NETRA_OUTBOUND_PORT"},
		{"JAEGER_USER", "ann", "JAEGER_PASSWORD"},
		{"JAEGER_PASSWORD", "secret", "JAEGER_USER"},
		{"NETRA_HTTP_X_SOURCE_HEADER_NAME", "X-Route", "NETRA_HTTP_ROUTING_HEADER_NAME"},
		{"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"},
	} {
		names, others := checked(map[string]string{test.name: test.value})
		if !slices.Equal(names, []string{test.fault}) || !slices.Contains(others, test.name) {
			t.Errorf("%s=%s: faults of %v together with %v", test.name, test.value, names, others)
		}
	}
}
