package http1

import "bytes"

// maxMethod bounds a method: the longest registered one has 17 letters.
const maxMethod = 32

// preface is how an HTTP/2 connection with prior knowledge begins.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const version = "HTTP/1."

// startLine reads a request line or a status line byte by byte, so that the
// first byte that does not fit is told at once and never waited for.
type startLine struct {
	role  Role
	phase phase
	from  int // where the phase's part begins
	// Where method and target lie; offsets, since a later call may see the
	// same bytes at another address.
	methodEnd, target0, targetEnd int
	path                          bool // the target begins with a slash
}

type phase uint8

const (
	inMethod phase = iota
	inTarget
	inVersion
	inStatus
	inReason
	atLF
)

// scan looks at p from *at on and moves *at; done tells that the line is
// complete, its LF included. For a request line that is foreign to HTTP/1 the
// reason is always ReasonStartLine.
func (s *startLine) scan(p []byte, at *int, m *Message) (done bool, reason Reason) {
	if s.role == Response && *at == 0 && s.phase == inMethod {
		s.phase = inVersion
	}
	for ; *at < len(p); *at++ {
		i, c := *at, p[*at]
		ok := false
		switch s.phase {
		case inMethod:
			ok = s.method(i, c)
		case inTarget:
			ok = s.target(i, c)
		case inVersion:
			ok = s.version(i, c, m)
		case inStatus:
			ok = s.status(i, c, m)
		case inReason:
			ok = c >= ' ' && c != 0x7f || c == '\t'
			if c == '\r' {
				s.phase, ok = atLF, true
			}
		case atLF:
			if c == '\n' {
				*at++
				return true, ""
			}
		}
		if !ok {
			return false, ReasonStartLine
		}
	}
	return false, ""
}

func (s *startLine) method(i int, c byte) bool {
	if c == ' ' && i > 0 {
		s.methodEnd = i
		s.phase, s.from = inTarget, i+1
		return true
	}
	return token[c] && i < maxMethod
}

func (s *startLine) target(i int, c byte) bool {
	if c == ' ' && i > s.from {
		s.target0, s.targetEnd = s.from, i
		s.phase, s.from = inVersion, i+1
		return true
	}
	s.path = s.path || i == s.from && c == '/'
	return c > ' ' && c != 0x7f
}

func (s *startLine) version(i int, c byte, m *Message) bool {
	n := i - s.from
	switch {
	case n < len(version):
		return c == version[n]
	case n == len(version):
		m.Minor = int(c - '0')
		return c == '0' || c == '1'
	case s.role == Request:
		s.phase = atLF
		return c == '\r'
	default:
		s.phase, s.from = inStatus, i+1
		return c == ' '
	}
}

func (s *startLine) status(i int, c byte, m *Message) bool {
	n := i - s.from
	switch {
	case n == 0 && c == '0':
		return false
	case n < 3:
		m.Status = m.Status*10 + int(c-'0')
		return c >= '0' && c <= '9'
	case c == '\r': // no reason phrase and no space before it: common
		s.phase = atLF
		return true
	default:
		s.phase = inReason
		return c == ' '
	}
}

// foreign names what a connection carries whose first bytes are not a request
// line.
func foreign(p []byte) Reason {
	switch {
	case bytes.HasPrefix(p, []byte(preface[:len("PRI * HTTP/2")])):
		return ReasonHTTP2
	case p[0] == 0x16: // a TLS handshake record; never an HTTP token
		return ReasonTLS
	}
	return ReasonNotHTTP
}
