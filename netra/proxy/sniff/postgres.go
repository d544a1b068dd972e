package sniff

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// PostgreSQL's first messages have no type: a length that includes itself, and
// a code, which in the startup message is the protocol's version.
const (
	postgresSSL    = 80877103
	postgresGSS    = 80877104
	postgresCancel = 80877102
	postgres30     = 3 << 16
	postgres32     = 3<<16 | 2
	// postgresMax is how long a startup message may be: servers take no longer
	// one.
	postgresMax = 10000
)

// postgresRequest is a request for encryption.
type postgresRequest [8]byte

func postgresHead(p []byte) (length int, code uint32) {
	return int(binary.BigEndian.Uint32(p)), binary.BigEndian.Uint32(p[4:])
}

// postgresClient matches any of the first messages. A startup message goes on
// with the name of a parameter; where a zero follows the code it may be Kafka's.
func postgresClient(p []byte) verdict {
	const header = len(postgresRequest{})
	if len(p) < header {
		return fits(p, header, p[0] == 0, nil)
	}
	length, code := postgresHead(p)
	switch {
	case length > postgresMax:
	case length == header && (code == postgresSSL || code == postgresGSS), length > header && code == postgresCancel:
		return yes
	case length > header && (code == postgres30 || code == postgres32):
		return fits(p, header+1, true, func() bool { return 'a' <= p[header]|0x20 && p[header]|0x20 <= 'z' || p[header] == '_' })
	}
	return no
}

// postgres takes one step in what a client sends before the session: requests
// for encryption, each of which the server answers with one byte, then a
// ClientHello or the startup message.
func (s *Sniffer) postgres(p []byte) (n, need int) {
	const header = len(postgresRequest{})
	if len(p) > 0 && p[0] == recordHandshake {
		s.phase = hello
		return 0, 0
	}
	if len(p) < header {
		return 0, header
	}
	length, code := postgresHead(p)
	switch code {
	case postgresSSL, postgresGSS:
		if s.negotiations++; s.negotiations <= maxNegotiation && length == header {
			return header, 1
		}
	case postgres30, postgres32:
		if length < header || length > postgresMax {
			break
		}
		if length > len(p) && len(p) < maxHello {
			return 0, length
		}
		s.identity.Database = postgresDatabase(p[header:min(len(p), length, maxHello)])
	}
	s.settle("")
	return 0, 0
}

// maxDatabase is how long a database's name can be.
const maxDatabase = 63

// postgresDatabase finds the parameter among the names and values, each of
// which ends with a zero.
func postgresDatabase(p []byte) string {
	for len(p) > 0 {
		name, rest, _ := bytes.Cut(p, []byte{0})
		value, rest, ended := bytes.Cut(rest, []byte{0})
		if string(name) == "database" && ended && len(value) <= maxDatabase && printable(value) {
			return string(value)
		}
		p = rest
	}
	return ""
}

func printable(value []byte) bool {
	return strings.IndexFunc(string(value), func(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' }) < 0
}
