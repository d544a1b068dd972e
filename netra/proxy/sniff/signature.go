package sniff

import (
	"bytes"
	"encoding/binary"
)

// verdict is what a signature says of the beginning of a stream. A no and a yes
// are for good: more bytes do not change them.
type verdict uint8

const (
	no verdict = iota
	maybe
	yes
)

// signature tells a protocol by the first bytes of one end.
type signature struct {
	protocol Protocol
	match    func(p []byte) verdict
}

// clientSignatures are tried in this order. What one rules out by few bytes
// comes first; PostgreSQL comes before Kafka, whose requests its startup
// message resembles.
var clientSignatures = [...]signature{
	{TLS, tlsClient},
	{HTTP2, word("PRI * HTTP/2.0")},
	{SSH, word("SSH-")},
	{AMQP, amqpClient},
	{Redis, redisClient},
	{HTTP, httpClient},
	{MQTT, mqttClient},
	{Cassandra, cassandraClient},
	{MSSQL, mssqlClient},
	{MongoDB, mongoClient},
	{PostgreSQL, postgresClient},
	{Kafka, kafkaClient},
}

// greeting stands for the protocols whose servers begin with a 220 line.
const greeting Protocol = "220"

var serverSignatures = [...]signature{
	{SSH, word("SSH-")},
	{greeting, word("220")},
	{NATS, word("INFO {")},
	{POP3, word("+OK ")},
	{IMAP, word("* OK")},
	{MySQL, mysqlServer},
}

// first returns the first signature that is not ruled out by p.
func first(signatures []signature, p []byte) (Protocol, verdict) {
	if len(p) == 0 {
		return "", maybe
	}
	for _, s := range signatures {
		if v := s.match(p); v != no {
			return s.protocol, v
		}
	}
	return "", no
}

// word returns a match of streams that begin with w.
func word(w string) func([]byte) verdict {
	return func(p []byte) verdict { return begins(p, w) }
}

func begins(p []byte, w string) verdict {
	n := min(len(p), len(w))
	switch {
	case string(p[:n]) != w[:n]:
		return no
	case n < len(w):
		return maybe
	}
	return yes
}

// fits is the verdict of a check that needs n bytes, on streams that are at all
// possible by those that are there.
func fits(p []byte, n int, possible bool, check func() bool) verdict {
	switch {
	case !possible:
		return no
	case len(p) < n:
		return maybe
	case check():
		return yes
	}
	return no
}

// maxLine is how much is looked at of a line of text: a request line can be
// long, but by then its method has been told.
const maxLine = 512

// httpClient matches an HTTP/1 request line of a registered method.
func httpClient(p []byte) verdict {
	for _, method := range [...]string{"GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS ", "CONNECT ", "TRACE "} {
		v := begins(p, method)
		if v != yes {
			if v == maybe {
				return maybe
			}
			continue
		}
		line, _, complete := bytes.Cut(p[:min(len(p), maxLine)], []byte{'\n'})
		switch {
		case complete && !bytes.Contains(line, []byte(" HTTP/1.")): // RTSP and SIP have some of the methods
			return no
		case complete, len(line) == maxLine:
			return yes
		}
		return maybe
	}
	return no
}

// redisClient matches an array of bulk strings, as which every client library
// sends its commands: *2\r\n$4\r\n…
func redisClient(p []byte) verdict {
	const maxDigits = 7 // arrays have up to 1024 × 1024 elements
	if p[0] != '*' {
		return no
	}
	i := 1
	for i < len(p) && i <= maxDigits && digit(p[i]) {
		i++
	}
	if i == len(p) {
		return maybe
	}
	if i == 1 {
		return no
	}
	return begins(p[i:], "\r\n$")
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// amqpClient matches the protocol header of AMQP 0-9-1 and 1.0; their fifth
// byte is a protocol id of 0 to 3.
func amqpClient(p []byte) verdict {
	v := begins(p, "AMQP")
	if v != yes {
		return v
	}
	return fits(p, 5, true, func() bool { return p[4] <= 3 })
}

// mqttClient matches a CONNECT packet, whose length has one to four bytes.
func mqttClient(p []byte) verdict {
	if p[0] != 0x10 {
		return no
	}
	i := 1
	for i < len(p) && i < 4 && p[i]&0x80 != 0 {
		i++
	}
	if i+1 >= len(p) {
		return maybe
	}
	name := p[i+1:]
	if v := begins(name, "\x00\x04MQTT"); v != no {
		return v
	}
	return begins(name, "\x00\x06MQIsdp")
}

// cassandraClient matches a frame of the native protocol, version 3 to 6, that
// holds OPTIONS (without a body) or STARTUP.
func cassandraClient(p []byte) verdict {
	const betaFlag = 0x10
	return fits(p, 9, 3 <= p[0] && p[0] <= 6, func() bool {
		length := binary.BigEndian.Uint32(p[5:])
		return (p[1] == 0 || p[1] == betaFlag) && (p[4] == 5 && length == 0 || p[4] == 1 && 2 <= length && length <= maxHello)
	})
}

// mssqlClient matches a TDS pre-login packet, which begins with the option
// VERSION.
func mssqlClient(p []byte) verdict {
	return fits(p, 9, p[0] == 0x12, func() bool {
		length := binary.BigEndian.Uint16(p[2:])
		return p[1] <= 1 && 9 <= length && length <= maxHello && p[4] == 0 && p[5] == 0 && p[7] == 0 && p[8] == 0
	})
}

// mongoClient matches the header of a request: OP_MSG, OP_COMPRESSED, or the
// OP_QUERY and OP_COMMAND with which older drivers say hello.
func mongoClient(p []byte) verdict {
	const maxMessage = 48_000_000
	return fits(p, 16, len(p) < 4 || binary.LittleEndian.Uint32(p) <= maxMessage, func() bool {
		length, responseTo := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[8:])
		switch binary.LittleEndian.Uint32(p[12:]) {
		case 2013, 2012, 2004, 2010:
			return length > 16 && responseTo == 0
		}
		return false
	})
}

// kafkaClient matches the header of a request. It has no magic number, so the
// ranges are narrow: the keys and versions that exist, a correlation id that
// has just begun to count, and a client id that is text.
func kafkaClient(p []byte) verdict {
	const (
		header         = 14
		maxRequest     = 100 << 20 // what brokers accept
		maxKey         = 100
		maxVersion     = 25
		maxCorrelation = 1 << 16
		maxClientID    = 255
	)
	return fits(p, header, p[0] <= maxRequest>>24, func() bool {
		size, correlation := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[8:])
		clientID := int(int16(binary.BigEndian.Uint16(p[12:])))
		if size > maxRequest || int64(size) < header-4+int64(max(clientID, 0)) || clientID < -1 || clientID > maxClientID {
			return false
		}
		return binary.BigEndian.Uint16(p[4:]) <= maxKey && binary.BigEndian.Uint16(p[6:]) <= maxVersion && correlation < maxCorrelation
	})
}

// mysqlServer matches the greeting of protocol 10, and the error that a server
// which takes no more connections sends in its place.
func mysqlServer(p []byte) verdict {
	const maxPacket = 1 << 10
	return fits(p, 7, len(p) < 5 || p[3] == 0 && (p[4] == 10 || p[4] == 0xff), func() bool {
		length := int(p[0]) | int(p[1])<<8 | int(p[2])<<16
		if length < 3 || length > maxPacket {
			return false
		}
		code := binary.LittleEndian.Uint16(p[5:])
		return p[4] == 10 && digit(p[5]) || p[4] == 0xff && 1000 <= code && code < 5000
	})
}

// greetingOf tells mail servers from file servers by the greeting's first line,
// else by the port.
func (s *Sniffer) greetingOf(p []byte) (Protocol, verdict) {
	line, _, complete := bytes.Cut(p[:min(len(p), maxLine)], []byte{'\n'})
	if !complete && len(line) < maxLine {
		return "", maybe
	}
	line = bytes.ToUpper(line)
	switch byPort := ByPort(s.port); {
	case bytes.Contains(line, []byte("SMTP")), bytes.Contains(line, []byte("LMTP")):
		return SMTP, yes
	case bytes.Contains(line, []byte("FTP")):
		return FTP, yes
	case byPort == SMTP, byPort == FTP:
		return byPort, yes
	}
	return "", no
}

// greetedClient tells by the client's first word after a 220 line.
func greetedClient(p []byte) (Protocol, verdict) {
	if len(p) == 0 {
		return "", maybe
	}
	word := bytes.ToUpper(p[:min(len(p), 5)])
	pending := no
	for _, w := range [...]struct {
		word     string
		protocol Protocol
	}{{"EHLO ", SMTP}, {"HELO ", SMTP}, {"LHLO ", SMTP}, {"USER ", FTP}, {"AUTH ", FTP}, {"FEAT", FTP}} {
		switch begins(word, w.word) {
		case yes:
			return w.protocol, yes
		case maybe:
			pending = maybe
		}
	}
	return "", pending
}
