package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/netra/metrics"
)

// jaegerVariables are all variables of jaeger-client-go, with a value that is
// taken by it and one that is a fault.
var jaegerVariables = []struct{ name, good, bad string }{
	{"JAEGER_AGENT_HOST", "127.0.0.1", "agent:6831"},
	{"JAEGER_AGENT_HOST", "[::1]", "::1"},
	{"JAEGER_AGENT_PORT", "6832", "0"},
	{"JAEGER_DISABLED", "1", "yes"},
	{"JAEGER_ENDPOINT", "http://j:14268/api/traces", "j:14268"},
	{"JAEGER_REPORTER_ATTEMPT_RECONNECTING_DISABLED", "true", "never"},
	{"JAEGER_REPORTER_ATTEMPT_RECONNECT_INTERVAL", "10s", "-10s"},
	{"JAEGER_REPORTER_FLUSH_INTERVAL", "500ms", "500"},
	{"JAEGER_REPORTER_LOG_SPANS", "false", "some"},
	{"JAEGER_REPORTER_MAX_QUEUE_SIZE", "10", "1000000000"},
	{"JAEGER_RPC_METRICS", "false", "true"},
	{"JAEGER_SAMPLER_MANAGER_HOST_PORT", "http://127.0.0.1:5778/sampling", "agent:5778"},
	{"JAEGER_SAMPLER_MAX_OPERATIONS", "100", "-1"},
	{"JAEGER_SAMPLER_PARAM", "0", "0.5"},
	{"JAEGER_SAMPLER_REFRESH_INTERVAL", "1m", "-1m"},
	{"JAEGER_SAMPLER_TYPE", "RateLimiting", "adaptive"},
	{"JAEGER_SAMPLING_ENDPOINT", "http://127.0.0.1:5778/sampling", "/sampling"},
	{"JAEGER_TAGS", "zone=a, host=${HOSTNAME:none}", "zone"},
	{"JAEGER_TAGS", "host=${HOSTNAME:}", "host=${HOSTNAME}"},
	{"JAEGER_TRACEID_128BIT", "true", "false"},
}

func TestJaegerVariables(t *testing.T) {
	for _, test := range jaegerVariables {
		t.Run(test.name+"="+test.good, func(t *testing.T) {
			s, err := readWith(map[string]string{test.name: test.good})
			if err != nil {
				t.Fatal(err)
			}
			// The client reads the environment itself, and has to take it, too.
			t.Setenv(test.name, test.good)
			_, flush, err := s.newExporter(metrics.New(""), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatalf("the client refuses it: %v", err)
			}
			if err := flush(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := readWith(map[string]string{test.name: test.bad}); err == nil || !strings.Contains(err.Error(), test.name+"=") {
				t.Errorf("for %q: error %v", test.bad, err)
			}
		})
	}
}

func TestJaegerVariablesTogether(t *testing.T) {
	type vars = map[string]string
	for _, test := range []struct {
		vars  vars
		fault string // the variable that is named; empty: none
	}{
		{vars{"JAEGER_ENDPOINT": "http://j", "JAEGER_USER": "u", "JAEGER_PASSWORD": "secret-token"}, ""},
		{vars{"JAEGER_ENDPOINT": "http://j", "JAEGER_USER": "u"}, "JAEGER_PASSWORD"},
		{vars{"JAEGER_ENDPOINT": "http://j", "JAEGER_PASSWORD": "secret-token"}, "JAEGER_USER"},
		{vars{"JAEGER_USER": "u", "JAEGER_PASSWORD": "secret-token"}, "JAEGER_ENDPOINT"},
		{vars{"JAEGER_SAMPLER_TYPE": "probabilistic", "JAEGER_SAMPLER_PARAM": "0.5"}, ""},
		{vars{"JAEGER_SAMPLER_TYPE": "probabilistic", "JAEGER_SAMPLER_PARAM": "2"}, "JAEGER_SAMPLER_PARAM"},
		{vars{"JAEGER_SAMPLER_TYPE": "remote", "JAEGER_SAMPLER_PARAM": "0.5"}, ""},
		{vars{"JAEGER_SAMPLER_TYPE": "ratelimiting", "JAEGER_SAMPLER_PARAM": "2"}, ""},
		{vars{"JAEGER_SAMPLER_TYPE": "ratelimiting", "JAEGER_SAMPLER_PARAM": "-2"}, "JAEGER_SAMPLER_PARAM"},
		{vars{"JAEGER_PROPAGATION": "b3"}, "JAEGER_PROPAGATION"},
	} {
		_, err := readWith(test.vars)
		switch {
		case test.fault == "" && err != nil:
			t.Errorf("%v: %v", test.vars, err)
		case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault+"=") || strings.Contains(err.Error(), "secret-token")):
			t.Errorf("%v: error %v", test.vars, err)
		}
	}
}
