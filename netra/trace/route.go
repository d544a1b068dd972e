package trace

import "bytes"

// MaxRoutes bounds how many span names one process gives; beyond it a span is
// named by its method alone ("GET /*"). Back ends keep a list of all names of a
// service, and 1000 are more than a service has routes.
const MaxRoutes = 1000

// maxSegments bounds how deep a name goes.
const maxSegments = 8

// routes are the names of spans.
type routes struct{ lookup[string] }

// name returns the name of a span for a request: its method and the shape of
// its path.
func (r *routes) name(method, target []byte) string {
	var room [128]byte
	return r.bounded(appendRoute(room[:0], method, target), method)
}

// bounded returns name, or a shorter one of the method if there are too many.
func (r *routes) bounded(name, method []byte) string {
	known, ok := r.find(name)
	if !ok && !r.full(MaxRoutes) {
		text := string(name)
		known, ok = r.add(text, text, MaxRoutes)
	}
	if ok {
		return known
	}
	for _, m := range [...]string{"GET /*", "HEAD /*", "POST /*", "PUT /*", "PATCH /*", "DELETE /*", "OPTIONS /*", "TRACE /*", "CONNECT /*"} {
		if string(method) == m[:len(m)-len(" /*")] {
			return m
		}
	}
	return "OTHER /*"
}

// Route returns method and target's path, with what looks like an identifier
// replaced by {id}: numbers, UUIDs, hexadecimal and long mixed tokens. The
// query is dropped, and what lies deeper than eight segments is one "*".
func Route(method, target string) string {
	return string(appendRoute(nil, []byte(method), []byte(target)))
}

func appendRoute(b, method, target []byte) []byte {
	b = append(b, method...)
	if string(method) == "CONNECT" {
		return b // its target is an address
	}
	b = append(b, ' ')
	segments := path(target)
	if len(segments) == 0 || segments[0] != '/' {
		return append(b, segments...) // "*"
	}
	depth := 0
	for segment := range bytes.SplitSeq(segments[1:], []byte{'/'}) {
		b = append(b, '/')
		if depth++; depth > maxSegments {
			return append(b, '*')
		}
		if identifier(segment) {
			segment = []byte("{id}")
		}
		b = append(b, segment...)
	}
	return b
}

// path returns the path of a request's target, which may be in absolute form.
func path(target []byte) []byte {
	for _, end := range []byte("?#") {
		if i := bytes.IndexByte(target, end); i >= 0 {
			target = target[:i]
		}
	}
	if len(target) > 0 && target[0] == '/' {
		return target
	}
	if _, rest, ok := bytes.Cut(target, []byte("://")); ok {
		if i := bytes.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
		return []byte("/")
	}
	return target
}

// identifier reports whether a path's segment looks like one thing of many.
func identifier(s []byte) bool {
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
	case letters == hexOnly && letters+digits >= shortHex && len(bytes.Trim(s, "0123456789abcdefABCDEF-")) == 0:
		return true // hashes and UUIDs
	case longest >= longRun:
		return true
	}
	return len(s) >= longMixed && other <= len(s)/4
}
