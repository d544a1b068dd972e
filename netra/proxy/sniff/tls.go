package sniff

import "encoding/binary"

// Numbers of TLS.
const (
	recordHandshake      = 22
	handshakeClientHello = 1
	extensionServerName  = 0
	nameTypeHost         = 0
	recordHeader         = 5
	handshakeHeader      = 4
	// maxRecord is what a record may hold, TLS 1.2's expansion included.
	maxRecord = 1<<14 + 2048
)

// tlsClient matches the first record of a ClientHello, of SSL 3.0 to TLS 1.3,
// which all write 3.x as the record's version.
func tlsClient(p []byte) verdict {
	return fits(p, recordHeader+1, p[0] == recordHandshake, func() bool {
		length := binary.BigEndian.Uint16(p[3:])
		return p[1] == 3 && p[2] <= 4 && 0 < length && length <= maxRecord && p[recordHeader] == handshakeClientHello
	})
}

// serverName returns the server's name in the ClientHello with whose first
// record p begins. The hello may lie in several records, and p may be cut; then
// need is how many bytes there must be for another look.
func serverName(p []byte) (name string, need int) {
	body, need := handshake(p)
	return helloName(body), need
}

// handshake returns the body of the handshake message in the records at p, as
// far as it is there, and how many bytes of records are needed for more of it.
func handshake(p []byte) (body []byte, need int) {
	var message []byte
	for at := 0; ; {
		if len(p) < at+recordHeader {
			need = at + recordHeader
			break
		}
		length := int(binary.BigEndian.Uint16(p[at+3:]))
		if p[at] != recordHandshake || length == 0 || length > maxRecord {
			break // no hello goes on like this
		}
		begin, end := at+recordHeader, at+recordHeader+length
		fragment := p[begin:min(end, len(p))]
		if message == nil { // all of it, nearly always
			message = fragment[:len(fragment):len(fragment)]
		} else {
			message = append(message, fragment...)
		}
		total := helloLength(message)
		if len(message) >= total {
			message = message[:total]
			break
		}
		if end > len(p) {
			need = min(end, len(p)+total-len(message))
			break
		}
		at = end
	}
	if len(message) < handshakeHeader {
		return nil, need
	}
	return message[handshakeHeader:], need
}

// helloLength returns the length of a handshake message with its header, or of
// the header as long as that is not there.
func helloLength(message []byte) int {
	if len(message) < handshakeHeader {
		return handshakeHeader
	}
	return handshakeHeader + int(binary.BigEndian.Uint32(message)&0xffffff)
}

// helloName walks the body of a ClientHello to the extension with the name.
func helloName(body []byte) string {
	c := cursor(body)
	c.take(2 + 32)              // version, random
	c.take(int(c.uint8()))      // session
	c.take(int(c.uint16()))     // cipher suites
	c.take(int(c.uint8()))      // compression methods
	for c.uint16(); c != nil; { // the extensions' length
		kind := c.uint16()
		extension := c.take(int(c.uint16()))
		if c == nil || kind != extensionServerName {
			continue
		}
		list := cursor(extension)
		for list.uint16(); list != nil; {
			nameType := list.uint8()
			name := list.take(int(list.uint16()))
			if list != nil && nameType == nameTypeHost {
				return hostName(name)
			}
		}
		return ""
	}
	return ""
}

// cursor is the rest of a message; nil after its end was passed.
type cursor []byte

func (c *cursor) take(n int) []byte {
	if *c == nil || len(*c) < n {
		*c = nil
		return nil
	}
	taken := (*c)[:n]
	*c = (*c)[n:]
	return taken
}

func (c *cursor) uint8() uint8 {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// maxHost is the longest host name that DNS allows.
const maxHost = 253

// hostName returns a name in lower case, or "" where it is none: it becomes
// part of spans and metrics.
func hostName(name []byte) string {
	if len(name) == 0 || len(name) > maxHost {
		return ""
	}
	lower := make([]byte, len(name))
	for i, c := range name {
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', digit(c), c == '-', c == '_', c == '.':
		default:
			return ""
		}
		lower[i] = c
	}
	return string(lower)
}
