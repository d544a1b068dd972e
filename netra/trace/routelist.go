package trace

import (
	"bytes"
	"iter"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxRoutes and maxPairs bound the routes of one request: a header of the length
// that servers commonly take, and more services than one request passes.
const (
	maxRoutes = 8 << 10 // bytes
	maxPairs  = 64
)

// routeList is a list of routes that was checked, in the form in which it
// travels: host1=host2,host3:8080=host4:9090. It is not kept in parts, for most
// requests look at it once, if ever.
type routeList string

func (l routeList) same(o routeList) bool { return l == o }

func (l routeList) size() int { return len(l) }

// parseRoutes checks a header's or a cookie's value. Empty items are left out,
// as in any list in a header.
func parseRoutes(value string) (list routeList, ok bool) {
	if len(value) > maxRoutes {
		return "", false
	}
	n := 0
	for from, to := range pairs(value) {
		if n++; n > maxPairs {
			return "", false
		}
		_, fromOK := parseUpstream(from)
		_, toOK := parseUpstream(to)
		if !fromOK || !toOK {
			return "", false
		}
	}
	if n == 0 {
		return "", true
	}
	return routeList(value), true
}

// find returns where requests to a host go, the first pair that fits being the
// one that counts. A pair without a port fits a host with any.
func (l routeList) find(host string) Upstream {
	meant, ok := parseUpstream(host)
	if !ok {
		return Upstream{}
	}
	for left, right := range pairs(string(l)) {
		from, _ := parseUpstream(left)
		to, _ := parseUpstream(right)
		if from.Host == meant.Host && (from.Port == 0 || from.Port == meant.Port) && from != to {
			return to
		}
	}
	return Upstream{}
}

// pairs yields the parts of each item, the second one empty where there is no
// equals sign.
func pairs(list string) iter.Seq2[string, string] {
	return func(yield func(from, to string) bool) {
		for item := range strings.SplitSeq(list, ",") {
			if item = strings.Trim(item, " \t"); item == "" {
				continue
			}
			from, to, _ := strings.Cut(item, "=")
			if !yield(strings.TrimRight(from, " \t"), strings.TrimLeft(to, " \t")) {
				return
			}
		}
	}
}

// parseUpstream reads a host's name or address, with or without a port, in lower
// case and without the dot that may end a name.
func parseUpstream(s string) (u Upstream, ok bool) {
	var host, port string
	var ported bool
	bracketed := strings.HasPrefix(s, "[")
	if bracketed {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return u, false
		}
		host, port = s[1:end], s[end+1:]
		if port, ported = strings.CutPrefix(port, ":"); !ported && port != "" {
			return u, false
		}
	} else {
		host, port, ported = strings.Cut(s, ":")
	}
	if ported {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return u, false
		}
		u.Port = uint16(n)
	}
	if bracketed {
		address, err := netip.ParseAddr(host)
		if err != nil || !address.Is6() || address.Zone() != "" {
			return u, false
		}
		u.Host = address.String()
		return u, true
	}
	u.Host = strings.TrimSuffix(strings.ToLower(host), ".")
	return u, isHost(u.Host)
}

// isHost reports whether a name in lower case may be a host's.
func isHost(name string) bool {
	if name == "" || len(name) > maxHost || name[0] == '-' || name[0] == '.' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c == '.' && name[i-1] == '.' || !hostByte(c) {
			return false
		}
	}
	return true
}

func hostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

// cookie returns the value of a cookie, without the quotes and the escapes that
// browsers' scripts put around it: a bare comma has no place in a cookie.
func cookie(field []byte, name string) string {
	for item := range bytes.SplitSeq(field, []byte{';'}) {
		key, value, ok := bytes.Cut(bytes.TrimSpace(item), []byte{'='})
		if !ok || string(key) != name {
			continue
		}
		if len(value) > 3*maxRoutes { // whatever it is escaped from is too long
			value = value[:3*maxRoutes+1]
		}
		text := string(value)
		if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
			text = text[1 : len(text)-1]
		}
		if plain, err := url.PathUnescape(text); err == nil {
			return plain
		}
		return text
	}
	return ""
}
