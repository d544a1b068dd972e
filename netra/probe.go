package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/netra/metrics"
)

// maxProbes bounds the probes at work. A pod has a few, and each takes some
// microseconds, unless the application's queue of new connections is full.
const maxProbes = 64

// tcpProber answers whether the pod accepts connections at a port:
//
//	GET /probe/tcp/8080
//
// It is what the kubelet asks in place of the port itself (api.PathProbeTCP), at
// which netra accepts in any case. It dials as the kubelet would, at the address
// that the question came to, which is the pod's own: so there is no other host
// that could be asked about, and an application that listens on 127.0.0.1 alone
// is as far away as it is without netra.
type tcpProber struct {
	own   []uint16 // netra's ports, which it never dials
	slots chan struct{}
	limit time.Duration
	set   *metrics.Set
}

func newTCPProber(set *metrics.Set, own []uint16) *tcpProber {
	return &tcpProber{own: own, slots: make(chan struct{}, maxProbes), limit: dialTimeout, set: set}
}

func (p *tcpProber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text := r.PathValue("port")
	n, err := strconv.ParseUint(text, 10, 16)
	port := uint16(n)
	if err != nil || port == 0 || slices.Contains(p.own, port) {
		http.Error(w, fmt.Sprintf("port %q: want one from 1 to 65535 that is not netra's, as in %s8080", text, api.PathProbeTCP), http.StatusBadRequest)
		return
	}
	if err := p.probe(r, port); err != nil {
		p.set.Probes.Add(metrics.Probe{Kind: metrics.ProbeTCP, Code: "5xx"}, 1)
		http.Error(w, fmt.Sprintf("port %d takes no connection: %v", port, err), http.StatusServiceUnavailable)
		return
	}
	p.set.Probes.Add(metrics.Probe{Kind: metrics.ProbeTCP, Code: "2xx"}, 1)
	fmt.Fprintln(w, "ok")
}

// probe dials the port at the address at which the request came, and hangs up.
// A kubelet that stops waiting ends it.
func (p *tcpProber) probe(r *http.Request, port uint16) error {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("the address that was asked is unknown")
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		return fmt.Errorf("%d other probes are at work", maxProbes)
	}
	addr := local.AddrPort().Addr().Unmap()
	conn, err := (&net.Dialer{Timeout: p.limit}).DialContext(r.Context(), "tcp", netip.AddrPortFrom(addr, port).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if conn.LocalAddr().String() == conn.RemoteAddr().String() {
		// TCP lets a socket connect to itself, where the kernel happens to give
		// it the very port that nobody listens on.
		return fmt.Errorf("nobody listens at %s", conn.RemoteAddr())
	}
	return nil
}
