package trace

import "strings"

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
