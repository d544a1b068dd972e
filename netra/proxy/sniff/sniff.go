// Package sniff tells what a TCP connection carries by the first bytes that
// pass on it, and which server the client asks for.
//
//	s := sniff.New(port)            // the destination's
//	more := s.Client(piece)         // as the client's bytes pass, in order
//	more = s.Server(piece)          // as the server's do
//	if s.Done() { … s.Identity() }  // at any time; until then a guess by port
//
// Both report whether that end's next bytes are of any use; with false they
// need not be called again. Most clients need one look: their first piece holds
// all that is asked. Where it does not (a ClientHello in several segments,
// PostgreSQL's question whether TLS may be used, a greeting that mail and file
// servers share) a Sniffer keeps a copy of up to maxKept bytes of that end until
// it is settled.
//
// How it decides: the end that speaks first is asked first. Of a client's bytes
// the signatures are tried in order and the first that does not rule itself out
// decides, so the answer does not depend on how the stream is cut. A client
// whose bytes fit no signature settles the connection: it is named by its port,
// else "tcp". A server whose bytes fit none leaves it to the client's.
//
// A Sniffer does no I/O. Hostile bytes cost it a bounded amount: each signature
// looks at a bounded prefix, and a look that needs n bytes to go on is not
// repeated before they are there.
package sniff

// Protocol is what a connection carries, by the name that traces give it.
type Protocol string

// The protocols that first bytes or ports tell.
const (
	TCP        Protocol = "tcp" // anything else
	TLS        Protocol = "tls"
	HTTP       Protocol = "http"
	HTTP2      Protocol = "http2"
	PostgreSQL Protocol = "postgresql"
	MySQL      Protocol = "mysql" // and MariaDB
	Redis      Protocol = "redis"
	MongoDB    Protocol = "mongodb"
	Kafka      Protocol = "kafka"
	AMQP       Protocol = "amqp"
	MQTT       Protocol = "mqtt"
	NATS       Protocol = "nats"
	Cassandra  Protocol = "cassandra"
	MSSQL      Protocol = "mssql"
	SSH        Protocol = "ssh"
	SMTP       Protocol = "smtp"
	FTP        Protocol = "ftp"
	POP3       Protocol = "pop3"
	IMAP       Protocol = "imap"
	DNS        Protocol = "dns"
	LDAP       Protocol = "ldap"
	Memcached  Protocol = "memcached"
	Oracle     Protocol = "oracle"
	ZooKeeper  Protocol = "zookeeper"
)

// ByPort returns the protocol that a server on this port mostly speaks, or "".
// 443 is not among them: a connection there on which no ClientHello passed is
// not TLS.
func ByPort(port uint16) Protocol {
	switch port {
	case 21:
		return FTP
	case 22:
		return SSH
	case 25, 587, 2525:
		return SMTP
	case 53:
		return DNS
	case 110:
		return POP3
	case 143:
		return IMAP
	case 389:
		return LDAP
	case 1433:
		return MSSQL
	case 1521:
		return Oracle
	case 1883:
		return MQTT
	case 2181:
		return ZooKeeper
	case 3306:
		return MySQL
	case 4222:
		return NATS
	case 5432, 6432: // 6432: PgBouncer
		return PostgreSQL
	case 5672:
		return AMQP
	case 6379:
		return Redis
	case 9042:
		return Cassandra
	case 9092:
		return Kafka
	case 11211:
		return Memcached
	case 27017:
		return MongoDB
	}
	return ""
}

// Identity is what is known of a connection.
type Identity struct {
	Protocol Protocol
	// Server is the name by which the client called the server: a ClientHello's
	// server name, in lower case.
	Server string
	// Database is the one that a PostgreSQL client asked for.
	Database string
}

// Limits, in bytes.
const (
	// maxHello bounds what is looked at of a ClientHello or a startup message:
	// with a post-quantum key share a hello has some 2000.
	maxHello = 4 << 10
	// maxNegotiation is how many requests for encryption a PostgreSQL client
	// may make before its startup message; it makes one for GSSAPI and one for
	// TLS.
	maxNegotiation = 3
	// maxKept bounds the copy of one end's bytes.
	maxKept = maxHello + maxNegotiation*len(postgresRequest{})
)

type phase uint8

const (
	unknown  phase = iota
	greeted        // the server said 220; the client's first word tells
	hello          // inside a ClientHello
	postgres       // between PostgreSQL's messages before the startup
	settled
)

// Sniffer looks at one connection. It is used by one goroutine at a time.
type Sniffer struct {
	port         uint16
	phase        phase
	negotiations int
	identity     Identity
	client       prefix
	server       prefix
}

// New returns a Sniffer for a connection to this port.
func New(port uint16) Sniffer { return Sniffer{port: port} }

// Done reports whether further bytes would not change the answer.
func (s *Sniffer) Done() bool { return s.phase == settled }

// Identity returns what is known; before Done, the port may have to tell.
func (s *Sniffer) Identity() Identity {
	identity := s.identity
	if identity.Protocol == "" {
		identity.Protocol = ByPort(s.port)
	}
	if identity.Protocol == "" {
		identity.Protocol = TCP
	}
	return identity
}

// Client looks at the next bytes of the client's and reports whether more of
// them are wanted.
func (s *Sniffer) Client(p []byte) (more bool) {
	if s.phase == settled || s.client.over {
		return false
	}
	p = s.client.with(p)
	for s.phase != settled {
		n, need := s.clientLook(p)
		p = p[n:]
		if need > len(p) {
			s.client.keep(p, need)
			return true
		}
	}
	return false
}

// clientLook takes one step in the client's bytes p: it uses n of them, and
// needs that many bytes from there on for the next step. Without a need, the
// phase has changed.
func (s *Sniffer) clientLook(p []byte) (n, need int) {
	if len(p) < s.client.need && len(p) < maxHello {
		return 0, s.client.need
	}
	s.client.need = 0
	switch s.phase {
	case hello:
		name, need := serverName(p[:min(len(p), maxHello)])
		if need > len(p) && len(p) < maxHello {
			return 0, need
		}
		s.identity.Server = name
		s.settle("")
		return 0, 0
	case postgres:
		return s.postgres(p)
	case greeted:
		protocol, verdict := greetedClient(p)
		if verdict == maybe {
			return 0, len(p) + 1
		}
		s.settle(protocol)
		return 0, 0
	}
	protocol, verdict := first(clientSignatures[:], p)
	switch {
	case verdict == maybe:
		return 0, len(p) + 1
	case protocol == TLS:
		s.identity.Protocol, s.phase = TLS, hello
	case protocol == PostgreSQL:
		s.identity.Protocol, s.phase = PostgreSQL, postgres
	default: // one of the others or, with "", none
		s.settle(protocol)
	}
	return 0, 0
}

// Server looks at the next bytes of the server's and reports whether more of
// them are wanted.
func (s *Sniffer) Server(p []byte) (more bool) {
	if s.phase == settled || s.server.over {
		return false
	}
	if s.phase != unknown { // the rest is the client's to say
		s.server.end()
		return false
	}
	p = s.server.with(p)
	protocol, verdict := first(serverSignatures[:], p)
	if protocol == greeting && verdict == yes {
		if protocol, verdict = s.greetingOf(p); verdict == no {
			s.phase = greeted
		}
	}
	switch verdict {
	case maybe:
		s.server.keep(p, 0)
		return true
	case yes:
		s.settle(protocol)
	default:
		s.server.end()
	}
	return false
}

// settle ends the looking; protocol, where it is not "", is the answer.
func (s *Sniffer) settle(protocol Protocol) {
	if protocol != "" {
		s.identity.Protocol = protocol
	}
	s.phase = settled
	s.client.end()
	s.server.end()
}

// prefix is what is kept of one end's bytes.
type prefix struct {
	kept []byte
	need int // how many bytes the next look needs
	over bool
}

// with returns the bytes kept and p behind them. Only where there are kept ones
// is p copied.
func (k *prefix) with(p []byte) []byte {
	if len(k.kept) == 0 {
		return p
	}
	k.kept = append(k.kept, p[:min(len(p), maxKept-len(k.kept))]...)
	return k.kept
}

// keep keeps p, what with returned or its end, for the next look.
func (k *prefix) keep(p []byte, need int) {
	k.need = need
	if len(k.kept) > 0 {
		k.kept = p
		return
	}
	k.kept = append(make([]byte, 0, min(max(need, len(p)), maxKept)), p[:min(len(p), maxKept)]...)
}

func (k *prefix) end() { *k = prefix{over: true} }
