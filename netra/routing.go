package main

import (
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/netra/trace"
)

// takenHeaders have a meaning of their own for netra, or for every server.
var takenHeaders = []string{
	"host", "cookie", "connection", "upgrade", "content-length", "transfer-encoding", "user-agent", "content-type",
	"traceparent", "uber-trace-id", "b3",
}

// readRouting reads how requests are routed: not at all, where it is not enabled,
// but faults are reported all the same.
func readRouting(r *env.Reader, t trace.Settings) trace.Routing {
	const (
		enabledName, headerVariable = "NETRA_HTTP_ROUTING_ENABLED", "NETRA_HTTP_ROUTING_HEADER_NAME"
		cookieEnabledName           = "NETRA_HTTP_ROUTING_COOKIE_ENABLED"
		cleanupName                 = "NETRA_ROUTING_CONTEXT_CLEANUP_INTERVAL"
	)
	enabled, cookieEnabled := r.Bool(enabledName, false), r.Bool(cookieEnabledName, false)
	s := trace.Routing{
		Header:          headerName(r, headerVariable, "X-Route"),
		Cookie:          cookieName(r, "NETRA_HTTP_ROUTING_COOKIE_NAME", "X-Route"),
		Expiration:      r.Millis("NETRA_ROUTING_CONTEXT_EXPIRATION_MILLISECONDS", 5*time.Second),
		CleanupInterval: r.Millis(cleanupName, time.Second),
	}
	if s.CleanupInterval == 0 {
		r.Fault(cleanupName, "0", "at least 1 millisecond")
	}
	lower := strings.ToLower(s.Header)
	if slices.Contains(takenHeaders, lower) || strings.HasPrefix(lower, "x-b3-") ||
		strings.EqualFold(lower, t.RequestIDHeader) || strings.EqualFold(lower, t.SourceHeader) {
		r.Fault(headerVariable, s.Header, "a header of its own, that nothing else uses")
	}
	if cookieEnabled && !enabled {
		r.Fault(cookieEnabledName, "true", "false, or "+enabledName+"=true beside it")
	}
	if !enabled {
		return trace.Routing{}
	}
	if !cookieEnabled {
		s.Cookie = ""
	}
	return s
}

// cookieName reads the name of a cookie.
func cookieName(r *env.Reader, name, def string) string {
	v := r.String(name, def)
	for _, c := range []byte(v) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			r.Fault(name, v, "a cookie's name: letters, digits and !#$%&'*+-.^_`|~")
			return def
		}
	}
	return v
}
