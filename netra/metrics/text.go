package metrics

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// text writes every series.
func (s *Set) text(b *bytes.Buffer) {
	head(b, "netra_build_info", "gauge", "The running version.")
	sample(b, "netra_build_info", `version="`+escape(s.version)+`"`, 1)

	s.Requests.text(b)

	head(b, "netra_bytes_total", "counter", "Bytes passed on, by direction and by who sent them: the client (request) or the server (response).")
	for _, side := range s.sides() {
		sample(b, "netra_bytes_total", label("direction", side.name)+`,way="request"`, side.RequestBytes.Load())
		sample(b, "netra_bytes_total", label("direction", side.name)+`,way="response"`, side.ResponseBytes.Load())
	}
	head(b, "netra_connections_total", "counter", "Connections accepted.")
	for _, side := range s.sides() {
		sample(b, "netra_connections_total", label("direction", side.name), side.Connections.Load())
	}
	head(b, "netra_open_connections", "gauge", "Connections being proxied.")
	for _, side := range s.sides() {
		sample(b, "netra_open_connections", label("direction", side.name), uint64(max(0, side.Open.Load())))
	}

	s.connections(b)

	cause := func(k Cause) string { return label("direction", k.Direction) + "," + label("reason", k.Reason) }
	vec(b, &s.Blind, "netra_blind_copies_total", "Connections copied without being understood, from some point on.", cause)
	vec(b, &s.Refused, "netra_refused_connections_total", "Connections closed at once: loops and connections that were not redirected.", cause)
	vec(b, &s.DialErrors, "netra_dial_errors_total", "Connections whose destination could not be reached.", cause)
	vec(b, &s.Links, "netra_links_total", "Outbound requests, and connections that are not HTTP, by how they were joined to an inbound request.", func(k string) string { return label("link", k) })
	vec(b, &s.Routed, "netra_routed_requests_total", "Requests that a route was meant for, by what came of it.", func(k Result) string {
		return label("direction", k.Direction) + "," + label("result", k.Result)
	})

	vec(b, &s.Probes, "netra_probes_total", "The kubelet's probes and hooks by status class; none of them is in the series of requests.", func(k Probe) string {
		return label("kind", k.Kind) + "," + label("code", k.Code)
	})

	head(b, "netra_spans_total", "counter", "Spans handed to the exporter.")
	sample(b, "netra_spans_total", "", s.Spans.Load())
	head(b, "netra_spans_dropped_total", "counter", "Spans lost because the exporter's queue was full or its backend failed.")
	sample(b, "netra_spans_dropped_total", "", s.Dropped.Load())
	head(b, "netra_accept_errors_total", "counter", "Failures to accept a connection, such as too many open files.")
	sample(b, "netra_accept_errors_total", "", s.AcceptError.Load())
	head(b, "netra_panics_total", "counter", "Connections ended by a fault in netra itself.")
	sample(b, "netra_panics_total", "", s.Panics.Load())
}

// connections writes the series of connections that are not HTTP.
func (s *Set) connections(b *bytes.Buffer) {
	connection := func(k Connection) string {
		return label("direction", k.Direction) + "," + label("peer", k.Peer) + "," + label("protocol", k.Protocol)
	}
	vec(b, &s.TCP, "netra_tcp_connections_total", "Connections that were not HTTP and have ended, by direction, peer service, protocol and what ended them.", func(k Closing) string {
		return connection(k.Connection) + "," + label("reason", k.Reason)
	})
	series(b, &s.TCPOpen, "netra_tcp_open_connections", "gauge", "Connections being proxied whose protocol is known not to be HTTP.", connection)
	vec(b, &s.TCPBytes, "netra_tcp_bytes_total", "Bytes on connections that were not HTTP and have ended, by direction, peer service and who sent them.", func(k PeerBytes) string {
		return label("direction", k.Direction) + "," + label("peer", k.Peer) + "," + label("way", k.Way)
	})
	head(b, "netra_tcp_connection_duration_seconds", "histogram", "From a connection's beginning to its end, where it was not HTTP.")
	for _, side := range s.sides() {
		histogram(b, "netra_tcp_connection_duration_seconds", label("direction", side.name), &side.Lifetime)
	}
}

type namedSide struct {
	name string
	*Side
}

func (s *Set) sides() [2]namedSide {
	return [2]namedSide{{"inbound", &s.Inbound}, {"outbound", &s.Outbound}}
}

func head(b *bytes.Buffer, name, kind, help string) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func sample(b *bytes.Buffer, name, labels string, value uint64) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(b, "%s%s %d\n", name, labels, value)
}

func vec[K comparable](b *bytes.Buffer, v *Vec[K], name, help string, labels func(K) string) {
	series(b, v, name, "counter", help, labels)
}

func series[K comparable](b *bytes.Buffer, v *Vec[K], name, kind, help string, labels func(K) string) {
	head(b, name, kind, help)
	v.mu.RLock()
	lines := make([]string, 0, len(v.counts))
	for key, count := range v.counts {
		lines = append(lines, fmt.Sprintf("%s{%s} %d\n", name, labels(key), count.Load()))
	}
	v.mu.RUnlock()
	slices.Sort(lines)
	for _, line := range lines {
		b.WriteString(line)
	}
}

func histogram(b *bytes.Buffer, name, labels string, h *Histogram) {
	var sum uint64
	for i := range h.counts {
		sum += h.counts[i].Load()
		bound := "+Inf"
		if bounds := h.buckets(); i < len(bounds) {
			bound = strconv.FormatFloat(bounds[i], 'g', -1, 64)
		}
		sample(b, name+"_bucket", labels+`,le="`+bound+`"`, sum)
	}
	fmt.Fprintf(b, "%s_sum{%s} %s\n", name, labels, strconv.FormatFloat(float64(h.nanos.Load())/1e9, 'g', -1, 64))
	sample(b, name+"_count", labels, sum)
}

func label(name, value string) string { return name + `="` + escape(value) + `"` }

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// escape makes a value fit for a label; peers' names come from the wire and
// need not be UTF-8.
func escape(value string) string { return escaper.Replace(strings.ToValidUTF8(value, "?")) }
