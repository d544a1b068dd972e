package sniff

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
)

// piece is what passes at once; who is '>' for the client, '<' for the server.
type piece struct {
	who   byte
	bytes string
}

func c(s string) piece { return piece{'>', s} }
func s(s string) piece { return piece{'<', s} }

// look feeds a Sniffer with the pieces, cut to size.
func look(port uint16, size int, pieces ...piece) string {
	sniffer := New(port)
	more := map[byte]bool{'>': true, '<': true}
	for _, p := range pieces {
		for rest := []byte(p.bytes); len(rest) > 0; {
			now := bytes.Clone(rest[:min(size, len(rest))]) // a window is used again
			rest = rest[len(now):]
			switch {
			case !more[p.who]:
			case p.who == '>':
				more[p.who] = sniffer.Client(now)
			default:
				more[p.who] = sniffer.Server(now)
			}
			clear(now)
		}
	}
	i := sniffer.Identity()
	return strings.TrimRight(fmt.Sprintf("%s %s %s %v", i.Protocol, i.Server, i.Database, sniffer.Done()), " ")
}

// The first bytes of real clients and servers: psql 15 and its libpq, redis-cli
// 7, MariaDB 10.11; of the others as their specifications have them.
const (
	psqlSSL     = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	psqlGSS     = "\x00\x00\x00\x08\x04\xd2\x16\x30"
	psqlCancel  = "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x12\x34\x56\x78\x9a\xbc"
	psqlStartup = "\x00\x00\x008\x00\x03\x00\x00user\x00app\x00database\x00orders\x00application_name\x00psql\x00\x00"
	mariadb     = "d\x00\x00\x00\n5.5.5-10.11.19-MariaDB-0+deb12u1\x00\x03\x00\x00\x00[>cZvfyN\x00\xfe\xf7-\x02\x00\xff\x81\x15\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00ZX+jWU'_+WSy\x00mysql_native_password\x00"
	mysqlFull   = "\x17\x00\x00\x00\xff\x10\x04Too many connections"
	redis       = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n"
	mongoMsg    = "\x32\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00"
	mongoQuery  = "\x04\x01\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00\x00\x00\x00\x00admin.$cmd\x00"
	kafka       = "\x00\x00\x00\x1e\x00\x12\x00\x03\x00\x00\x00\x01\x00\x0aproducer-1\x00\x05java\x063.7"
	kafkaOld    = "\x00\x00\x00\x15\x00\x03\x00\x00\x00\x00\x00\x00\x00\x07sarama1\x00\x00\x00\x00"
	kafkaNull   = "\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x00\xff\xff"
	amqp091     = "AMQP\x00\x00\x09\x01"
	amqp10      = "AMQP\x03\x01\x00\x00"
	mqtt        = "\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04here"
	mqtt31      = "\x10\x80\x01\x00\x06MQIsdp\x03"
	cassandra   = "\x04\x00\x00\x00\x05\x00\x00\x00\x00"
	mssql       = "\x12\x01\x00\x2f\x00\x00\x00\x00\x00\x00\x1a\x00\x06\x01\x00\x20\x00\x01"
)

func TestIdentity(t *testing.T) {
	api := clientHello(t, "API.Example.com")
	tests := []struct {
		name   string
		port   uint16
		want   string
		pieces []piece
	}{
		{"nothing", 1, "tcp   false", nil},
		{"nothing, by port", 5432, "postgresql   false", nil},
		{"tls", 443, "tls api.example.com  true", []piece{c(api), s("\x16\x03\x03\x00\x7a\x02")}},
		{"tls without a name", 443, "tls   true", []piece{c(clientHello(t, ""))}},
		{"tls by name on any port", 5432, "tls api.example.com  true", []piece{c(api)}},
		{"tls in two records", 443, "tls api.example.com  true", []piece{c(inRecords(api, 100))}},
		{"tls in records of a byte", 443, "tls api.example.com  true", []piece{c(inRecords(api, 1))}},
		{"tls whose second record is another", 443, "tls   true", []piece{c(inRecords(api, 100)[:105] + "\x17\x03\x03\x00\x01x")}},
		{"half a hello", 443, "tls   false", []piece{c(api[:80])}},
		{"a hello of 12 KiB with the name in front", 443, "tls api.example.com  true", []piece{c(padded(api, 12<<10))}},
		{"a bad name", 443, "tls   true", []piece{c(strings.ReplaceAll(api, "API.", "A\"I."))}},
		{"tls of another kind", 443, "tcp   true", []piece{c("\x16\x03\x01\x00\x0f\x02server hello..")}},
		{"postgresql", 6000, "postgresql  orders true", []piece{c(psqlStartup)}},
		{"postgresql refuses tls", 6000, "postgresql  orders true", []piece{c(psqlSSL), s("N"), c(psqlStartup)}},
		{"postgresql with tls", 6000, "postgresql api.example.com  true", []piece{c(psqlSSL), s("S"), c(api), s("\x16")}},
		{"postgresql refuses both", 6000, "postgresql  orders true", []piece{c(psqlGSS), s("N"), c(psqlSSL), s("N"), c(psqlStartup)}},
		{"postgresql asks for ever", 6000, "postgresql   true", []piece{c(strings.Repeat(psqlSSL, 9))}},
		{"postgresql all at once", 6000, "postgresql  orders true", []piece{c(psqlSSL + psqlStartup)}},
		{"postgresql, tls asked for", 6000, "postgresql   false", []piece{c(psqlSSL)}},
		{"postgresql, cancel", 6000, "postgresql   true", []piece{c(psqlCancel)}},
		{"postgresql, odd database", 6000, "postgresql   true", []piece{c(strings.ReplaceAll(psqlStartup, "orders", "or\nder"))}},
		{"mariadb", 6000, "mysql   true", []piece{s(mariadb), c("\x55\x00\x00\x01")}},
		{"mysql takes no more", 6000, "mysql   true", []piece{s(mysqlFull)}},
		{"redis", 6000, "redis   true", []piece{c(redis), s("+OK\r\n")}},
		{"mongodb", 6000, "mongodb   true", []piece{c(mongoMsg)}},
		{"mongodb's old hello", 6000, "mongodb   true", []piece{c(mongoQuery)}},
		{"kafka", 6000, "kafka   true", []piece{c(kafka)}},
		{"kafka, metadata first", 6000, "kafka   true", []piece{c(kafkaOld)}},
		{"kafka without a client id", 6000, "kafka   true", []piece{c(kafkaNull)}},
		{"amqp 0-9-1", 6000, "amqp   true", []piece{c(amqp091)}},
		{"amqp 1.0", 6000, "amqp   true", []piece{c(amqp10)}},
		{"mqtt", 6000, "mqtt   true", []piece{c(mqtt)}},
		{"mqtt 3.1", 6000, "mqtt   true", []piece{c(mqtt31)}},
		{"cassandra", 6000, "cassandra   true", []piece{c(cassandra)}},
		{"mssql", 6000, "mssql   true", []piece{c(mssql)}},
		{"http", 6000, "http   true", []piece{c("GET /a HTTP/1.1\r\n")}},
		{"http, a long line", 6000, "http   true", []piece{c("POST /" + strings.Repeat("a", 600))}},
		{"not quite http", 554, "tcp   true", []piece{c("OPTIONS rtsp://a RTSP/1.0\r\n")}},
		{"http2", 6000, "http2   true", []piece{c("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}},
		{"ssh, server first", 6000, "ssh   true", []piece{s("SSH-2.0-OpenSSH_9.2p1\r\n")}},
		{"ssh, client first", 6000, "ssh   true", []piece{c("SSH-2.0-Go\r\n")}},
		{"smtp", 6000, "smtp   true", []piece{s("220 mail.example.com ESMTP Postfix\r\n")}},
		{"ftp", 6000, "ftp   true", []piece{s("220-Welcome to the FTP service\r\n220 \r\n")}},
		{"smtp by port", 25, "smtp   true", []piece{s("220 hello\r\n")}},
		{"smtp by the client's word", 6000, "smtp   true", []piece{s("220 hello\r\n"), c("EHLO me\r\n")}},
		{"ftp by the client's word", 6000, "ftp   true", []piece{s("220 hello\r\n"), c("user me\r\n")}},
		{"220 and no known word", 6000, "tcp   true", []piece{s("220 hello\r\n"), c("HELP\r\n")}},
		{"nats", 6000, "nats   true", []piece{s("INFO {\"server_id\":\"N\"}\r\n")}},
		{"pop3", 6000, "pop3   true", []piece{s("+OK ready\r\n")}},
		{"imap", 6000, "imap   true", []piece{s("* OK [CAPABILITY IMAP4rev1] ready\r\n")}},
		{"unknown client", 6000, "tcp   true", []piece{c("\xf1\xf2\xf3\xf4")}},
		{"too few to tell", 6000, "tcp   false", []piece{c("\x01\x02\x03")}},
		{"unknown client, known port", 11211, "memcached   true", []piece{c("get a\r\n"), s("END\r\n")}},
		{"unknown server", 6000, "tcp   false", []piece{s("hello")}},
		{"unknown server, known client", 6000, "redis   true", []piece{s("hello"), c(redis)}},
		{"zeros", 6000, "tcp   true", []piece{c(strings.Repeat("\x00", 100))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1 << 20, 1, 3, 500} {
				if got := look(tt.port, size, tt.pieces...); got != tt.want {
					t.Errorf("in pieces of %d: %q, want %q", size, got, tt.want)
				}
			}
		})
	}
}

// clientHello returns what a real client sends first.
func clientHello(t *testing.T, name string) string {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		defer theirs.Close()
		tls.Client(theirs, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}()
	record := make([]byte, 32<<10)
	n, err := ours.Read(record)
	if err != nil || n < 200 {
		t.Fatalf("a ClientHello of %d bytes, %v", n, err)
	}
	// Clients send the name as they were given it; Go lower-cases nothing.
	return string(record[:n])
}

// inRecords cuts the message in a record into records that hold size bytes.
func inRecords(record string, size int) string {
	var b strings.Builder
	for message := record[recordHeader:]; message != ""; {
		n := min(size, len(message))
		b.WriteString(record[:3])
		b.Write(binary.BigEndian.AppendUint16(nil, uint16(n)))
		b.WriteString(message[:n])
		message = message[n:]
	}
	return b.String()
}

// padded adds an extension of n bytes at the hello's end.
func padded(record string, n int) string {
	b := []byte(record)
	at := recordHeader + handshakeHeader + 2 + 32
	at += 1 + int(b[at])
	at += 2 + int(binary.BigEndian.Uint16(b[at:]))
	at += 1 + int(b[at])
	add := 4 + n
	binary.BigEndian.PutUint16(b[3:], binary.BigEndian.Uint16(b[3:])+uint16(add))
	binary.BigEndian.PutUint32(b[5:], binary.BigEndian.Uint32(b[5:])+uint32(add))
	binary.BigEndian.PutUint16(b[at:], binary.BigEndian.Uint16(b[at:])+uint16(add))
	b = append(b, 0, 21)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	return string(append(b, make([]byte, n)...))
}

// TestOneLookKeepsNothing holds that the common first pieces cost no memory.
func TestOneLookKeepsNothing(t *testing.T) {
	for name, first := range map[string]string{"redis": redis, "kafka": kafka, "mongodb": mongoMsg, "amqp": amqp091, "unknown": "\xff\xff\xff\xff"} {
		p := []byte(first)
		allocs := testing.AllocsPerRun(100, func() {
			sniffer := New(6000)
			if sniffer.Client(p) {
				t.Errorf("%s: more is wanted", name)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations, want none", name, allocs)
		}
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	huge := "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + strings.Repeat("\x00", 20<<10)
	for name, stream := range map[string]string{
		"tls": huge, "postgresql": "\x00\x00\x27\x10\x00\x03\x00\x00" + strings.Repeat("a", 20<<10), "http": "GET " + strings.Repeat("a", 20<<10),
	} {
		sniffer := New(6000)
		fed := 0
		for ; fed < len(stream) && sniffer.Client([]byte(stream[fed:fed+1])); fed++ {
			if n := len(sniffer.client.kept); n > maxKept {
				t.Fatalf("%s: %d bytes kept, want at most %d", name, n, maxKept)
			}
		}
		if !sniffer.Done() || fed > maxKept || sniffer.client.kept != nil {
			t.Errorf("%s: after %d bytes done = %v with %d kept", name, fed, sniffer.Done(), len(sniffer.client.kept))
		}
	}
	sniffer := New(6000)
	for i := 0; sniffer.Server([]byte("220 no end"[min(i, 9):][:1])); i++ {
		if i > maxLine {
			t.Fatal("a greeting without an end is looked at for ever")
		}
	}
}
