package trace

import (
	"strings"

	"github.com/formicarium/formicarium/netra/metrics"
)

// maxPeerNames bounds how many ways to write peers' names are remembered; others
// are read at each request. A peer has few: with and without its port, its
// namespace, its domain.
const maxPeerNames = 2 * metrics.MaxPeers

// peers finds what counts the requests of one direction with a peer, by its name
// as it stands in a request.
type peers struct{ lookup[*metrics.PeerRequests] }

func (t *Tracer) peer(direction Direction, name []byte) *metrics.PeerRequests {
	known := &t.peers[direction]
	if p, ok := known.find(name); ok {
		return p
	}
	text := string(name)
	p := t.metrics.Requests.With(direction.String(), t.metrics.Peer(PeerName(text, t.settings.Namespace)))
	if there, ok := known.add(text, p, maxPeerNames); ok {
		return there
	}
	return p
}

// maxHost is the longest host name that DNS allows.
const maxHost = 253

// PeerName returns the name of the service behind a Host header: in lower case,
// without port, and as it is called from within namespace, so that orders,
// orders.shop and orders.shop.svc.cluster.local are one service. An address
// stays as it is.
func PeerName(host, namespace string) string {
	host = strings.ToLower(strings.TrimSpace(host))
	if rest, ok := strings.CutPrefix(host, "["); ok { // [::1]:80
		address, _, _ := strings.Cut(rest, "]")
		return address
	}
	if i := strings.IndexByte(host, ':'); i >= 0 && i == strings.LastIndexByte(host, ':') {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	if len(host) > maxHost {
		return host[:maxHost]
	}
	for _, suffix := range [...]string{".svc.cluster.local", ".svc", ".cluster.local"} {
		if short, ok := strings.CutSuffix(host, suffix); ok {
			host = short
			break
		}
	}
	if short, ok := strings.CutSuffix(host, "."+namespace); ok && namespace != "" && short != "" {
		host = short
	}
	return host
}
