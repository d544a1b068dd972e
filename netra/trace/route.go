package trace

import (
	"strings"
	"sync"
)

// MaxRoutes bounds how many span names one process gives; beyond it a span is
// named by its method alone ("GET /*"). Back ends keep a list of all names of a
// service, and 1000 are more than a service has routes.
const MaxRoutes = 1000

// maxSegments bounds how deep a name goes.
const maxSegments = 8

type routes struct {
	mu    sync.RWMutex
	known map[string]struct{}
}

// name returns the name of a span for a request: its method and the shape of
// its path.
func (r *routes) name(method, target string) string {
	return r.bounded(Route(method, target), method)
}

// bounded returns name, or a shorter one of the method if there are too many.
func (r *routes) bounded(name, method string) string {
	r.mu.RLock()
	_, ok := r.known[name]
	full := len(r.known) >= MaxRoutes
	r.mu.RUnlock()
	if ok {
		return name
	}
	if !full {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.known == nil {
			r.known = map[string]struct{}{}
		}
		if len(r.known) < MaxRoutes {
			r.known[name] = struct{}{}
			return name
		}
	}
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT":
		return method + " /*"
	}
	return "OTHER /*"
}

// Route returns method and target's path, with what looks like an identifier
// replaced by {id}: numbers, UUIDs, hexadecimal and long mixed tokens. The
// query is dropped, and what lies deeper than eight segments is one "*".
func Route(method, target string) string {
	if method == "CONNECT" {
		return method // its target is an address
	}
	path := Path(target)
	if !strings.HasPrefix(path, "/") {
		return method + " " + path // "*"
	}
	var b strings.Builder
	b.WriteString(method)
	b.WriteByte(' ')
	depth := 0
	for segment := range strings.SplitSeq(path[1:], "/") {
		b.WriteByte('/')
		if depth++; depth > maxSegments {
			b.WriteByte('*')
			break
		}
		if identifier(segment) {
			segment = "{id}"
		}
		b.WriteString(segment)
	}
	return b.String()
}

// Path returns the path of a request's target, which may be in absolute form.
func Path(target string) string {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	if _, rest, ok := strings.Cut(target, "://"); ok && !strings.HasPrefix(target, "/") {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
		return "/"
	}
	return target
}

// identifier reports whether a path's segment looks like one thing of many.
func identifier(s string) bool {
	var letters, digits, hexOnly, other, run, longest int
	for i := range len(s) {
		c := s[i]
		lower := c | 0x20
		switch {
		case c >= '0' && c <= '9':
			digits++
			run++
			longest = max(longest, run)
			continue
		case lower >= 'a' && lower <= 'f':
			letters++
			hexOnly++
		case lower >= 'g' && lower <= 'z':
			letters++
		case c == '@':
			return true // an e-mail address
		default:
			other++
		}
		run = 0
	}
	const (
		shortHex  = 8  // an abbreviated hash
		longRun   = 5  // "order-10042", but not "iso-8859-1"
		longMixed = 20 // ULIDs have 26 characters, base64 of 16 bytes 22
		tooLong   = 64
	)
	switch {
	case len(s) > tooLong:
		return true
	case digits == 0:
		return false
	case letters == 0: // numbers, dates, ranges
		return true
	case letters == hexOnly && letters+digits >= shortHex && strings.Trim(s, "0123456789abcdefABCDEF-") == "":
		return true // hashes and UUIDs
	case longest >= longRun:
		return true
	}
	return len(s) >= longMixed && other <= len(s)/4
}
