package main

import (
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/trace"
)

func TestRoutingVariables(t *testing.T) {
	const enabled, cookie = "NETRA_HTTP_ROUTING_ENABLED", "NETRA_HTTP_ROUTING_COOKIE_ENABLED"
	tests := []struct {
		name string
		vars map[string]string
		want trace.Routing
	}{
		{"unset", nil, trace.Routing{}},
		{"off", map[string]string{enabled: "false", "NETRA_HTTP_ROUTING_HEADER_NAME": "X-To", "NETRA_HTTP_ROUTING_COOKIE_NAME": "to"}, trace.Routing{}},
		{"on", map[string]string{enabled: "true"}, trace.Routing{Header: "X-Route", Expiration: 5 * time.Second, CleanupInterval: time.Second}},
		{"with the cookie", map[string]string{enabled: "true", cookie: "true"}, trace.Routing{Header: "X-Route", Cookie: "X-Route", Expiration: 5 * time.Second, CleanupInterval: time.Second}},
		{
			"all", map[string]string{
				enabled: "true", cookie: "true", "NETRA_HTTP_ROUTING_HEADER_NAME": "X-To", "NETRA_HTTP_ROUTING_COOKIE_NAME": "my.route",
				"NETRA_ROUTING_CONTEXT_EXPIRATION_MILLISECONDS": "0", "NETRA_ROUTING_CONTEXT_CLEANUP_INTERVAL": "20",
			},
			trace.Routing{Header: "X-To", Cookie: "my.route", CleanupInterval: 20 * time.Millisecond},
		},
	}
	for _, tt := range tests {
		vars := map[string]string{"JAEGER_SERVICE_NAME": "orders"}
		for name, value := range tt.vars {
			vars[name] = value
		}
		got, err := read(vars)
		if err != nil || got.trace.Routing != tt.want {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got.trace.Routing, err, tt.want)
		}
	}
}

func TestRoutingFaults(t *testing.T) {
	faulty := map[string]string{
		"NETRA_HTTP_ROUTING_ENABLED": "ture", "NETRA_HTTP_ROUTING_HEADER_NAME": "X Route", "NETRA_HTTP_ROUTING_COOKIE_NAME": "a=b",
		"NETRA_ROUTING_CONTEXT_EXPIRATION_MILLISECONDS": "5s", "NETRA_ROUTING_CONTEXT_CLEANUP_INTERVAL": "0",
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
	for name, vars := range map[string]map[string]string{
		`NETRA_HTTP_ROUTING_COOKIE_ENABLED="true": want false, or NETRA_HTTP_ROUTING_ENABLED=true beside it`: {"NETRA_HTTP_ROUTING_COOKIE_ENABLED": "true"},
		`NETRA_HTTP_ROUTING_COOKIE_ENABLED="yes"`:                                                            {"NETRA_HTTP_ROUTING_COOKIE_ENABLED": "yes"},
		`NETRA_HTTP_ROUTING_HEADER_NAME="x-request-id"`:                                                      {"NETRA_HTTP_ROUTING_HEADER_NAME": "x-request-id"},
		`NETRA_HTTP_ROUTING_HEADER_NAME="X-From"`:                                                            {"NETRA_HTTP_ROUTING_HEADER_NAME": "X-From", "NETRA_HTTP_X_SOURCE_HEADER_NAME": "x-from"},
		`NETRA_HTTP_ROUTING_HEADER_NAME="Host"`:                                                              {"NETRA_HTTP_ROUTING_HEADER_NAME": "Host"},
		`NETRA_HTTP_ROUTING_HEADER_NAME="X-B3-Sampled"`:                                                      {"NETRA_HTTP_ROUTING_HEADER_NAME": "X-B3-Sampled"},
	} {
		vars["JAEGER_SERVICE_NAME"] = "orders"
		if _, err := read(vars); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", vars, err)
		}
	}
}
