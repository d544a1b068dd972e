// Netra is a transparent proxy that runs beside an application and traces every
// request to it and from it.
//
//	netra --service-name orders
//
// Connections are redirected to it: those to the application to NETRA_PORT,
// those that the application makes to NETRA_OUTBOUND_PORT. Netra asks the
// kernel where each was meant to go, dials that at once and passes the bytes on
// as they come. Of HTTP/1 it follows the message boundaries, inserts tracing
// headers and reports a span for each request; any other protocol passes
// untouched. Where requests' framing is in doubt the connection is copied from
// there on, and counted.
//
// On SIGTERM it goes on to serve while connections live, for up to
// NETRA_DRAIN_TIMEOUT, sends its last spans and exits with 0.
//
// The service's name is --service-name, else JAEGER_SERVICE_NAME, else
// OTEL_SERVICE_NAME. All other settings are environment variables:
//
//	NETRA_PORT (14956)            inbound listener
//	NETRA_OUTBOUND_PORT (14955)   outbound listener
//	NETRA_ADMIN_PORT (14958)      /metrics (Prometheus text), /healthz, /readyz
//	NETRA_PPROF_PORT              pprof, on 127.0.0.1 only; unset: none
//	NETRA_LOGGER_LEVEL (info)     debug, info, warn or error
//	NETRA_DRAIN_TIMEOUT (10s)     how long to serve on after SIGTERM
//	NETRA_HTTP_PORTS              destination ports on which HTTP is looked for;
//	                              unset or *: all
//	NETRA_PROPAGATION (w3c,jaeger)
//	                              the trace headers written on every request:
//	                              w3c (traceparent), jaeger (uber-trace-id), b3,
//	                              b3multi. All of these are understood, and those
//	                              that a request has are always rewritten
//	NETRA_HTTP_REQUEST_ID_HEADER_NAME (X-Request-Id)
//	                              joins outbound requests to inbound ones;
//	                              generated on inbound requests without one
//	NETRA_HTTP_X_SOURCE_HEADER_NAME (X-Source)
//	                              names the calling service
//	NETRA_HTTP_X_SOURCE_VALUE     written to that header on outbound requests;
//	                              unset: none is
//	NETRA_TRACING_CONTEXT_EXPIRATION_MILLISECONDS (5000)
//	                              how long a request's context is kept after it
//	NETRA_TRACING_CONTEXT_CLEANUP_INTERVAL (1000)
//	                              how often, in milliseconds, old ones are removed
//	NETRA_HTTP_TRACING_IGNORED_PATHS
//	                              paths, separated by commas, without spans and
//	                              trace headers
//	HTTP_HEADER_TAG_MAP           header:tag,header:tag: request headers that
//	                              become tags of inbound spans
//	HTTP_COOKIE_TAG_MAP           cookie:tag,cookie:tag: likewise
//	POD_NAMESPACE                 the pod's: the tag k8s.namespace.name of its
//	                              spans; left out of peers' names
//	POD_NAME                      the pod's: the tag k8s.pod.name of its spans
//	JAEGER_*                      as jaeger-client-go has them: JAEGER_ENDPOINT,
//	                              JAEGER_AGENT_HOST, JAEGER_SAMPLER_TYPE, … Unless
//	                              a sampler is set, every trace is sampled
//
// Requests whose User-Agent begins with kube-probe/ are neither traced nor
// counted. Netra must run as a user whose own traffic is not redirected (1337).
package main

import (
	"os"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("netra", serve)) }
