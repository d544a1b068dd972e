package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

const (
	// maxBody bounds each answer of a server. Manifests and configurations
	// have some kilobytes, a hundred where an image has a long history; the
	// work and memory to read one are proportional to it.
	maxBody = 1 << 20
	// maxHeader bounds an answer's head.
	maxHeader = 64 << 10
	// maxRedirects is enough for a registry that sends its clients to a blob
	// store that sends them to a nearer one.
	maxRedirects = 3
)

var (
	errAddress  = errors.New("the address is none of a registry")
	errPlain    = errors.New("plain HTTP is not allowed for this host")
	errTooLarge = fmt.Errorf("the answer has more than %d bytes", maxBody)
)

// notRoutable are prefixes where no registry of a cluster is: those of
// machines' own links and services, and the addresses, outside of link-local
// space, at which clouds give credentials to whoever asks from the node.
var notRoutable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("192.0.0.0/24"),       // Oracle Cloud, among protocols' own
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("fd00:ec2::/32"),    // AWS
	netip.MustParsePrefix("fd20:ce::254/128"), // Google Cloud
	netip.MustParsePrefix("fd00:42::42/128"),  // Scaleway
	netip.MustParsePrefix("2001::/32"),        // Teredo: an IPv4 address within
	netip.MustParsePrefix("2002::/16"),        // 6to4: likewise
	netip.MustParsePrefix("64:ff9b:1::/48"),   // NAT64 within a network
	netip.MustParsePrefix("::ffff:0:0:0/96"),  // IPv4-translated
	netip.MustParsePrefix("::/96"),            // IPv4-compatible
}

var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Routable reports whether a registry may be at the address. Private
// addresses, where those of a cluster are, are allowed.
func Routable(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() {
		return false
	}
	if nat64.Contains(a) {
		b := a.As16()
		return Routable(netip.AddrFrom4([4]byte(b[12:])))
	}
	for _, p := range notRoutable {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// bounded is a transport that asks only what it may and reads no more than it
// has to.
type bounded struct {
	inner    http.RoundTripper
	plain    map[string]bool
	routable func(netip.Addr) bool
}

func newTransport(o Options, plain map[string]bool) http.RoundTripper {
	dialer := &net.Dialer{
		Timeout: flightLimit,
		// Here the name has been resolved, so what it led to is judged, each
		// time anew.
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil || !o.Routable(a.Addr()) {
				return errAddress
			}
			return nil
		},
	}
	return &bounded{plain: plain, routable: o.Routable, inner: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    flightLimit,
		ResponseHeaderTimeout:  flightLimit,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           maxFlights,
		IdleConnTimeout:        30 * time.Second,
	}}
}

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.URL.Scheme == "https":
	case r.URL.Scheme == "http" && b.plain[r.URL.Host]:
	default:
		return nil, errPlain
	}
	// Where a proxy connects, this is all that is seen of the address.
	if a, err := netip.ParseAddr(r.URL.Hostname()); err == nil && !b.routable(a) {
		return nil, errAddress
	}
	response, err := b.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.ContentLength > maxBody && r.Method != http.MethodHead {
		response.Body.Close()
		return nil, errTooLarge
	}
	response.Body = &limitedBody{ReadCloser: response.Body, left: maxBody}
	return response, nil
}

// limitedBody fails, rather than ends, after maxBody bytes.
type limitedBody struct {
	io.ReadCloser
	left int
}

func (l *limitedBody) Read(p []byte) (int, error) {
	if l.left == 0 {
		// Whether there is more is asked with one byte.
		if n, err := l.ReadCloser.Read(make([]byte, 1)); n == 0 && err != nil {
			return 0, err
		}
		return 0, errTooLarge
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// checkRedirect lets a registry send its clients to a few other places, which
// the transport judges one by one.
func checkRedirect(_ *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	}
	return nil
}
