package trace

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// Routing says how requests are routed.
type Routing struct {
	// Header brings the routes of a request; empty where none is routed.
	Header string
	// Cookie brings them too, and is read before the header; empty where it is
	// not read.
	Cookie string
	// Expiration is how long a request's routes are kept after its end.
	Expiration time.Duration
	// CleanupInterval is how often expired ones are removed.
	CleanupInterval time.Duration
}

// Upstream is a server that a route names. Port is 0 where the route has none:
// that of the server which the client meant. A route replaces one version of a
// service by another, and versions of a service listen on the same port.
type Upstream struct {
	Host string
	Port uint16
}

func (u Upstream) String() string {
	host := u.Host
	if u.Port == 0 {
		return host
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(u.Port))
}

// Results of netra_routed_requests_total.
const (
	Routed          = "routed"      // sent to its route's server
	RouteFailed     = "failed"      // that could not be reached
	RouteImpossible = "unsupported" // not of a kind that can be routed; sent on as it was meant
	RouteMalformed  = "malformed"   // the header or the cookie says nothing
)

// routing keeps the routes of inbound requests.
//
// They are found by the request's id and by its trace's, so an application that
// forwards either has its requests routed. The table is not the contexts': it
// also holds requests that have no span, and it has an expiration of its own.
type routing struct {
	settings Routing
	metrics  *metrics.Set
	kept     table[routeList]
}

// routed is what a Request has to do with routes.
type routed struct {
	known []entry[routeList] // where it is inbound
	to    Upstream           // where it is outbound
	// went says that it was sent there, server to which address.
	went   bool
	server netip.AddrPort
}

func newRouting(s Routing, set *metrics.Set) *routing {
	g := &routing{settings: s, metrics: set}
	g.kept.keep = s.Expiration
	return g
}

// own returns the routes that a request has itself; ok tells that it has some,
// or a header that says there are none.
func (g *routing) own(d Direction, f *fields) (list routeList, ok bool) {
	if g.settings.Cookie != "" {
		if value := cookie(f.value[hCookie], g.settings.Cookie); value != "" {
			if list, ok = g.parse(d, value); ok {
				return list, true
			}
		}
	}
	value := f.value[hRoute]
	switch {
	case value == nil:
		return "", false
	case f.twice[hRoute]: // which is meant?
		g.count(d, RouteMalformed)
		return "", false
	case len(value) > maxRoutes:
		value = value[:maxRoutes+1] // no more is needed to see that it is too long
	}
	return g.parse(d, string(value))
}

func (g *routing) parse(d Direction, value string) (routeList, bool) {
	list, ok := parseRoutes(value)
	if !ok {
		g.count(d, RouteMalformed)
	}
	return list, ok
}

func (g *routing) count(d Direction, result string) {
	g.metrics.Routed.Add(metrics.Result{Direction: d.String(), Result: result}, 1)
}

// begin keeps the routes of an inbound request, or that it has none.
func (g *routing) begin(r *Request, f *fields) {
	r.flight.routes, _ = g.own(Inbound, f)
	id := r.requestID
	if len(id) == 0 { // no span, but an id of its own
		id = f.value[hRequestID]
	}
	r.routed.known = append(r.routed.known, g.kept.begin(id, r.flight.routes))
	context := r.context
	if !context.Valid() {
		context = extract(f).parent
	}
	if context.Valid() {
		r.routed.known = append(r.routed.known, g.kept.begin(traceKey(context), r.flight.routes))
	}
}

// traceKey is a trace's key in the table; no request id begins like this.
func traceKey(c Context) []byte {
	key := make([]byte, 0, 1+2*8)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(append(key, 0), c.TraceHigh), c.TraceLow)
}

// route finds where an outbound request goes, and adds the header to its edits
// where the application has not forwarded it.
func (t *Tracer) route(r *Request, f *fields) {
	list, own := t.routing.own(Outbound, f)
	if !own {
		list = t.joinedRoutes(f)
		if list != "" {
			r.edits = append(r.edits, Edit{t.routing.settings.Header, []byte(list), f.value[hRoute] != nil})
		}
	}
	if list != "" {
		r.routed.to = list.find(string(clip(f.value[hHost])))
	}
}

// joinedRoutes returns the routes of the inbound request to which an outbound
// one belongs: that of its trace, that of its request id, the only one in
// flight. A request of a trace that did not come in belongs to none in flight.
func (t *Tracer) joinedRoutes(f *fields) routeList {
	now := t.now()
	own := extract(f).parent
	if own.Valid() {
		if list, mixed, ok := t.routing.kept.find(traceKey(own), now); ok && !mixed {
			return list
		}
	}
	if id := f.value[hRequestID]; len(id) > 0 && len(id) <= maxRequestID {
		if list, mixed, ok := t.routing.kept.find(id, now); ok {
			if mixed {
				return ""
			}
			return list
		}
	}
	if own.Valid() {
		return ""
	}
	if only, _, ok := t.flights.only(now, t.routing.settings.Expiration, t.settings.Inference); ok {
		return only.routes
	}
	return ""
}

// Upstream returns the server to which an outbound request is routed; its Host
// is empty where the request goes where it was meant to go.
func (r *Request) Upstream() Upstream { return r.routed.to }

// Routed notes that the request goes to its Upstream, at this address; the zero
// AddrPort where none was found.
func (r *Request) Routed(server netip.AddrPort) {
	r.peer = r.tracer.peer(Outbound, []byte(r.routed.to.Host))
	r.routed.went, r.routed.server = true, server
}

// describe adds where a request was sent that was routed.
func (r *routed) describe(to *record, peer string) {
	if !r.went {
		return
	}
	to.word("peer.service", peer)
	to.word("netra.route", r.to.String())
	if r.server.IsValid() {
		to.address("peer.address", r.server)
	}
}
