package api

import "encoding/json"

// PathProbeTCP is where netra's admin port answers for a TCP probe: GET of this
// path with a port number at its end is 200 where the pod accepts connections at
// that port, 503 where it does not. Probes are rewritten to it because at a
// redirected port it is netra who accepts.
const PathProbeTCP = "/probe/tcp/"

// Kinds of a RewrittenProbe: the fields of a container that hold a probe.
const (
	ProbeLiveness  = "livenessProbe"
	ProbeReadiness = "readinessProbe"
	ProbeStartup   = "startupProbe"
)

// RewrittenProbe is a probe by tcpSocket that injection made one by httpGet.
// Putting TCPSocket back in httpGet's place gives the probe as it was written.
type RewrittenProbe struct {
	Container string `json:"container"`
	Kind      string `json:"kind"`
	// TCPSocket is the action as it was written, such as {"port":"http"}.
	TCPSocket json.RawMessage `json:"tcpSocket"`
}
