// Netra is a transparent proxy that runs beside an application and traces every
// request to it and from it.
//
//	netra --service-name orders
//
// Connections are redirected to it: those to the application to NETRA_PORT,
// those that the application makes to NETRA_OUTBOUND_PORT. Netra asks the
// kernel where each was meant to go, dials that at once and passes the bytes on
// as they come. Of HTTP/1 it follows the message boundaries, of HTTP/2 the
// frames; it inserts tracing headers and reports a span for each request and
// each gRPC call. Any other protocol passes untouched, and each connection that
// the application makes has a span that says what it carries, by its first
// bytes or its port. Where requests' framing is in doubt the connection is
// copied from there on, and counted.
//
// On SIGTERM it goes on to serve while connections live or anybody else in the
// pod listens, for up to NETRA_DRAIN_TIMEOUT, sends its last spans and exits
// with 0. A native sidecar is told after the application has ended; an ordinary
// container at the same time, while others may still call the pod.
//
// The service's name is --service-name, else JAEGER_SERVICE_NAME, else
// OTEL_SERVICE_NAME, else service.name of OTEL_RESOURCE_ATTRIBUTES. All other
// settings are environment variables:
//
//	NETRA_PORT (14956)            inbound listener
//	NETRA_OUTBOUND_PORT (14955)   outbound listener
//	NETRA_ADMIN_PORT (14958)      /metrics (Prometheus text), /healthz, /readyz,
//	                              /probe/tcp/PORT
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
//	NETRA_TRACING_INFERENCE (likely)
//	                              which outbound requests without headers are
//	                              joined to the only inbound one in flight:
//	                              likely: all; certain: only where no request of
//	                              another trace was answered within the
//	                              expiration; off: none
//	NETRA_HTTP_TRACING_IGNORED_PATHS
//	                              paths, separated by commas, without spans and
//	                              trace headers
//	NETRA_HTTP_ROUTING_ENABLED (false)
//	                              true: requests are routed, see below
//	NETRA_HTTP_ROUTING_HEADER_NAME (X-Route)
//	                              the header that brings routes
//	NETRA_HTTP_ROUTING_COOKIE_ENABLED (false)
//	                              true: a cookie brings them, too, and is read
//	                              before the header
//	NETRA_HTTP_ROUTING_COOKIE_NAME (X-Route)
//	                              that cookie
//	NETRA_ROUTING_CONTEXT_EXPIRATION_MILLISECONDS (5000)
//	                              how long a request's routes are kept after it
//	NETRA_ROUTING_CONTEXT_CLEANUP_INTERVAL (1000)
//	                              how often, in milliseconds, old ones are removed
//	HTTP_HEADER_TAG_MAP           header:tag,header:tag: request headers that
//	                              become tags of inbound spans
//	HTTP_COOKIE_TAG_MAP           cookie:tag,cookie:tag: likewise
//	POD_NAMESPACE                 the pod's: the tag k8s.namespace.name of its
//	                              spans; left out of peers' names
//	POD_NAME                      the pod's: the tag k8s.pod.name of its spans
//	OTEL_TRACES_EXPORTER          otlp, jaeger or none; unset: otlp where one of
//	                              the two OTLP endpoints is set, else jaeger
//	OTEL_SDK_DISABLED (false)     true: no exporter, and no trace headers
//	OTEL_RESOURCE_ATTRIBUTES      key=value,key=value, percent-encoded: tags of the
//	                              process, above POD_NAMESPACE and POD_NAME
//
// A route says that requests to one host go to another: with the header
// "X-Route: orders=orders-mine,stock=stock-mine:8080" on a request to the
// application, what the application asks of http://orders while it is at work on
// it goes to orders-mine. The port is the one of the request where the route has
// none, so that a version of a service is found where the service is; for
// http://orders that is 80. "orders:8080=…" is a route for that port of the Host
// header alone. Which requests belong to which is found as for traces: the
// application forwards the header (or the cookie), trace headers or the request
// id, or it makes the request while exactly one is in flight. Netra inserts the
// header into requests that lack it, so that routes go on from service to
// service.
//
// The application's connection stays open: each request on it goes to its own
// server, over a connection that is kept. Routed are requests of HTTP/1; those
// of HTTP/2, those with CONNECT or Upgrade, and those to a forward proxy carry
// the header on and go where they were meant to go. Where a route's server cannot
// be reached, the application sees its connection reset, and the span says why. A
// value of more than 8 KiB or 64 routes, or one that does not parse, is as if it
// were not there; netra_routed_requests_total counts it. Whoever can send the
// application a request chooses by this where its own requests go: it is for
// environments in which everybody may.
//
// A back end that fails costs spans, which are counted, and nothing else. With
// the exporter otlp, spans are posted as protocol buffers over HTTP. Where there
// is a variable OTEL_EXPORTER_OTLP_TRACES_X, it is read before
// OTEL_EXPORTER_OTLP_X:
//
//	OTEL_EXPORTER_OTLP_ENDPOINT (http://localhost:4318)
//	                              the base URL, to which /v1/traces is added; the
//	                              one for TRACES is taken as it is
//	OTEL_EXPORTER_OTLP_HEADERS    key=value,key=value, percent-encoded
//	OTEL_EXPORTER_OTLP_TIMEOUT (10000)
//	                              milliseconds that an attempt may take
//	OTEL_EXPORTER_OTLP_COMPRESSION (none)
//	                              gzip or none; gzip takes a megabyte while a
//	                              batch is sent
//	OTEL_EXPORTER_OTLP_PROTOCOL (http/protobuf)
//	                              there is no other
//	OTEL_EXPORTER_OTLP_CERTIFICATE
//	                              file of the PEM certificates that are trusted;
//	                              unset: the system's
//	OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, OTEL_EXPORTER_OTLP_CLIENT_KEY
//	                              files of netra's own; all are read at the start
//	OTEL_TRACES_SAMPLER (parentbased_always_on)
//	                              always_on, always_off, traceidratio, and each of
//	                              these with parentbased_ before it, which changes
//	                              nothing: a decision that came with a request
//	                              always holds
//	OTEL_TRACES_SAMPLER_ARG (1)   the share that traceidratio samples, 0 to 1
//	OTEL_BSP_SCHEDULE_DELAY (5000)
//	                              milliseconds that spans wait for others
//	OTEL_BSP_EXPORT_TIMEOUT (30000)
//	                              milliseconds that a batch may take with all
//	                              attempts: those that end with no connection,
//	                              429, 502, 503 or 504 are repeated
//	OTEL_BSP_MAX_QUEUE_SIZE (2048), OTEL_BSP_MAX_EXPORT_BATCH_SIZE (512)
//	                              spans that may wait, and that are sent at once
//	HTTP_PROXY, HTTPS_PROXY, NO_PROXY
//	                              as net/http has them, for Jaeger's collector, too
//
// With the exporter jaeger, jaeger-client-go reads its own variables:
//
//	JAEGER_ENDPOINT               the collector's URL, for Thrift over HTTP; unset:
//	                              an agent, over UDP
//	JAEGER_USER, JAEGER_PASSWORD  for the collector
//	JAEGER_AGENT_HOST (localhost), JAEGER_AGENT_PORT (6831)
//	JAEGER_TAGS                   key=value,key=value: tags of the process; a value
//	                              may be ${VARIABLE:default}
//	JAEGER_DISABLED (false)       true: no exporter, and no trace headers
//	JAEGER_SAMPLER_TYPE (const)   const, probabilistic, ratelimiting or remote
//	JAEGER_SAMPLER_PARAM (1)      0 or 1; a share; traces per second; a share until
//	                              the first answer
//	JAEGER_SAMPLING_ENDPOINT      URL that the sampler remote asks; unset: that of
//	                              the agent
//	JAEGER_SAMPLER_MANAGER_HOST_PORT
//	                              its old name; a URL, too
//	JAEGER_SAMPLER_REFRESH_INTERVAL (1m), JAEGER_SAMPLER_MAX_OPERATIONS (2000)
//	                              of the sampler remote
//	JAEGER_REPORTER_MAX_QUEUE_SIZE (1000)
//	                              spans that may wait
//	JAEGER_REPORTER_FLUSH_INTERVAL (1s)
//	                              how long they do
//	JAEGER_REPORTER_LOG_SPANS (false)
//	                              true: logs each span, at the level info
//	JAEGER_REPORTER_ATTEMPT_RECONNECTING_DISABLED (false)
//	                              true: the agent's name is resolved but once,
//	                              unless that fails
//	JAEGER_REPORTER_ATTEMPT_RECONNECT_INTERVAL (30s)
//	                              how often it is resolved
//	JAEGER_RPC_METRICS            true is an error: /metrics has them in any case
//	JAEGER_TRACEID_128BIT         false is an error: trace ids always have 128 bits
//	JAEGER_PROPAGATION            an error: NETRA_PROPAGATION says it
//
// Other variables of OpenTelemetry's SDKs (OTEL_PROPAGATORS, …) are not read.
//
// Requests to the application whose User-Agent begins with kube-probe/ or
// kube-lifecycle/, by HTTP or gRPC, are the kubelet's probes and hooks: they pass
// as they are, without a span, and only netra_probes_total counts them. Since
// netra accepts at every redirected port, a probe by TCP is answered on the admin
// port: GET /probe/tcp/8080 is 200 where the pod takes connections at port 8080 of
// the address that was asked, and 503 where it does not.
//
// Netra must run as a user whose own traffic is not redirected (1337).
package main

import (
	"os"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("netra", serve)) }
