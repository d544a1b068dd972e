package sidecar

import (
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/internal/env"
)

// checkJaeger checks the variables that jaeger-client-go reads itself, for it
// stops at the first fault, lets pass what makes it panic later, and has some
// that mean nothing here.
func checkJaeger(r *env.Reader) {
	for _, name := range []string{
		"JAEGER_DISABLED", "JAEGER_RPC_METRICS", "JAEGER_TRACEID_128BIT", "JAEGER_REPORTER_LOG_SPANS", "JAEGER_REPORTER_ATTEMPT_RECONNECTING_DISABLED",
	} {
		v := r.String(name, "false")
		if _, err := strconv.ParseBool(v); err != nil {
			r.Fault(name, v, "true or false")
		}
	}
	const rpcMetrics, longIDs = "JAEGER_RPC_METRICS", "JAEGER_TRACEID_128BIT"
	if on, err := strconv.ParseBool(r.String(rpcMetrics, "false")); err == nil && on {
		r.Fault(rpcMetrics, r.String(rpcMetrics, ""), "false: netra counts all requests anyway, at /metrics")
	}
	if on, err := strconv.ParseBool(r.String(longIDs, "true")); err == nil && !on {
		r.Fault(longIDs, r.String(longIDs, ""), "true: netra's trace ids have 128 bits, as W3C's have")
	}
	if v := r.String("JAEGER_PROPAGATION", ""); v != "" {
		r.Fault("JAEGER_PROPAGATION", v, "nothing: jaeger-client-go has no such variable; NETRA_PROPAGATION says it")
	}
	checkJaegerTags(r)
	checkJaegerSampler(r)
	checkJaegerReporter(r)
}

// checkJaegerTags checks JAEGER_TAGS, since the client panics at an item without
// an equals sign and at a ${variable} without a default.
func checkJaegerTags(r *env.Reader) {
	const name = "JAEGER_TAGS"
	tags := r.String(name, "")
	if tags == "" {
		return
	}
	for item := range strings.SplitSeq(tags, ",") {
		_, value, ok := strings.Cut(item, "=")
		if !ok {
			r.Fault(name, tags, "key=value pairs separated by commas")
			return
		}
		value = strings.TrimSpace(value)
		if strings.HasPrefix(value, "${") && strings.HasSuffix(value, "}") && !strings.Contains(value, ":") {
			r.Fault(name, tags, "a colon after the name of each variable: ${NAME:default}, or ${NAME:}")
			return
		}
	}
}

func checkJaegerSampler(r *env.Reader) {
	const kind, param = "JAEGER_SAMPLER_TYPE", "JAEGER_SAMPLER_PARAM"
	switch v := r.String(kind, "const"); strings.ToLower(v) {
	case "const":
		if p := r.Float(param, 1, 0, 1); p != 0 && p != 1 {
			r.Fault(param, r.String(param, ""), "0 or 1 for the sampler const; probabilistic has shares")
		}
	case "probabilistic", "remote":
		r.Float(param, 1, 0, 1)
	case "ratelimiting":
		r.Float(param, 1, 0, 1e6)
	default:
		r.Fault(kind, v, "const, probabilistic, ratelimiting or remote")
	}
	r.HTTPURL("JAEGER_SAMPLING_ENDPOINT", "")
	r.HTTPURL("JAEGER_SAMPLER_MANAGER_HOST_PORT", "") // against its name
	r.Int("JAEGER_SAMPLER_MAX_OPERATIONS", 1, 1, 100_000)
	r.Duration("JAEGER_SAMPLER_REFRESH_INTERVAL", 0)
}

func checkJaegerReporter(r *env.Reader) {
	r.Int("JAEGER_REPORTER_MAX_QUEUE_SIZE", 1, 1, maxQueue)
	r.Duration("JAEGER_REPORTER_FLUSH_INTERVAL", 0)
	r.Duration("JAEGER_REPORTER_ATTEMPT_RECONNECT_INTERVAL", 0)
	const endpoint, user, password = "JAEGER_ENDPOINT", "JAEGER_USER", "JAEGER_PASSWORD"
	r.HTTPURL(endpoint, "")
	hasUser, hasPassword := r.String(user, "") != "", r.String(password, "") != ""
	switch {
	case hasUser && !hasPassword:
		r.Fault(password, "", "the password of "+user, user)
	case hasPassword && !hasUser:
		r.Fault(user, "", "the user of "+password, password)
	case hasUser && r.String(endpoint, "") == "":
		r.Fault(endpoint, "", "the collector's URL, since "+user+" is set; agents know no users", user)
	}
	r.Int("JAEGER_AGENT_PORT", 1, 1, 65535)
	const host = "JAEGER_AGENT_HOST"
	v := r.String(host, "")
	if bracketed := strings.HasPrefix(v, "[") && strings.HasSuffix(v, "]"); strings.ContainsAny(v, " /") || strings.Contains(v, ":") && !bracketed {
		r.Fault(host, v, "a host's name or address, without a port; IPv6 in brackets")
	}
}
