package sidecar

import (
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/env"
)

// Routing says how requests are routed.
type Routing struct {
	Header string
	Cookie string // empty where it is not read

	Expiration, CleanupInterval time.Duration
}

// Variables of headers that must differ.
const (
	requestIDVariable = "NETRA_HTTP_REQUEST_ID_HEADER_NAME"
	sourceVariable    = "NETRA_HTTP_X_SOURCE_HEADER_NAME"
	routeVariable     = "NETRA_HTTP_ROUTING_HEADER_NAME"
)

// takenHeaders have a meaning of their own for netra, or for every server.
var takenHeaders = []string{
	"host", "cookie", "connection", "upgrade", "content-length", "transfer-encoding", "user-agent", "content-type",
	"traceparent", "uber-trace-id", "b3",
}

// readRouting reads how requests are routed: not at all, where it is not enabled,
// but faults are reported all the same.
func readRouting(r *env.Reader, t Trace) Routing {
	const (
		enabledName       = "NETRA_HTTP_ROUTING_ENABLED"
		cookieEnabledName = "NETRA_HTTP_ROUTING_COOKIE_ENABLED"
		cleanupName       = "NETRA_ROUTING_CONTEXT_CLEANUP_INTERVAL"
	)
	enabled, cookieEnabled := r.Bool(enabledName, false), r.Bool(cookieEnabledName, false)
	s := Routing{
		Header:          headerName(r, routeVariable, "X-Route"),
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
		r.Fault(routeVariable, s.Header, "a header of its own, that nothing else uses", requestIDVariable, sourceVariable)
	}
	if cookieEnabled && !enabled {
		r.Fault(cookieEnabledName, "true", "false, or "+enabledName+"=true beside it")
	}
	if !enabled {
		return Routing{}
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
