package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/metrics"
)

// A conversation is what both ends do, in turns: lines that begin with ">" are
// sent by the client and awaited by the server, "<" the other way; ">|" and
// "<|" end a stream. The next turn begins when the last has arrived, so it can
// only succeed if every byte passes without waiting for more. What ">~" sends
// is an unfinished head, which the proxy may hold: it is awaited with the next.
type turn struct{ who, bytes string }

const chunked = "Transfer-Encoding: chunked\r\n"

var conversations = []struct {
	name  string
	turns []turn
	spans int
	blind string
}{
	{"get", []turn{{">", "GET /a?b=c HTTP/1.1\r\nhost: x\r\nX-ODD-case:  spaced \t\r\nB: 2\r\nA: 1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nserver:odd\r\nContent-Length: 2\r\n\r\nok"}, {">|", ""}, {"<|", ""}}, 1, ""},
	{"keep-alive", []turn{{">", "GET /1 HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"}, {">", "GET /2 HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"}, {"<|", ""}, {">|", ""}}, 2, ""},
	{"pipelining", []turn{{">", "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 201 Created\r\n" + chunked + "\r\n1\r\n2\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 3, ""},
	{"head with a length", []turn{{">", "HEAD / HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"}, {">", "GET / HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"}, {">", "GET / HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 3, ""},
	{"continue", []turn{{">", "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"}, {"<", "HTTP/1.1 100 Continue\r\n\r\n"}, {">", "body"}, {"<", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 1, ""},
	{"chunks and trailers both ways", []turn{{">", "POST / HTTP/1.1\r\n" + chunked + "\r\n5;ext=\"a\"\r\nhel"}, {">", "lo\r\n"}, {">", "0\r\nX-Sum: 1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\n" + chunked + "Trailer: T\r\n\r\n"}, {"<", "3\r\nabc\r\n"}, {"<", "0\r\nT: x\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 1, ""},
	{"1.0 until close", []turn{{">", "GET / HTTP/1.0\r\n\r\n"}, {"<", "HTTP/1.0 200 OK\r\n\r\nsome"}, {"<", " more"}, {"<|", ""}, {">|", ""}}, 1, ""},
	{"server-sent events", []turn{{">", "GET /events HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + chunked + "\r\n"}, {"<", "9\r\ndata: 1\n\n\r\n"}, {"<", "9\r\ndata: 2\n\n\r\n"}, {"<", "9\r\ndata: 3"}, {"<", "\n\n\r\n"}, {"<", "0\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 1, ""},
	{"absolute form", []turn{{">", "GET http://x:8080/a HTTP/1.1\r\nHost: x:8080\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 1, ""},
	{"answer before the body's end", []turn{{">", "POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc"}, {"<", "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"}, {">", "def"}, {">", "GET / HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 2, ""},
	{"a head in pieces", []turn{{">", "GE"}, {">", "T / HTTP/1.1"}, {">~", "\r\nHo"}, {">~", "st: a\r\n"}, {">", "\r\n"}, {"<", "HTTP/1.1 2"}, {"<", "00 OK\r\nContent-Length: 2\r\n\r"}, {"<", "\no"}, {"<", "k"}, {">|", ""}, {"<|", ""}}, 1, ""},
	{"upgrade with early frames", []turn{{">", "GET /ws HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"}, {"<", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02"}, {">", "\x81\x00"}, {"<", "ok"}, {"<|", ""}, {">", "GET / HTTP/1.1\r\n\r\n"}, {">|", ""}}, 1, "upgrade"},
	{"upgrade refused", []turn{{">", "GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"}, {">", "GET / HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 2, ""},
	{"upgrade refused after early frames", []turn{{">", "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n\x00\x01"}, {"<", "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"}, {">", "GET / HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 1, "early_data"},
	{"connect", []turn{{">", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"}, {"<", "HTTP/1.1 200 Connection established\r\n\r\n"}, {">", "\x16\x03\x01"}, {"<", "\x16\x03\x03"}, {">|", ""}, {"<", "bye"}, {"<|", ""}}, 1, "connect"},
	{"connect refused", []turn{{">", "CONNECT a:443 HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 407 Auth\r\nContent-Length: 1\r\n\r\nx"}, {">", "CONNECT a:443 HTTP/1.1\r\nAuth: y\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 2, "connect"},
	{"length and encoding", []turn{{">", "POST / HTTP/1.1\r\nContent-Length: 3\r\n" + chunked + "\r\n0\r\n\r\n"}, {"<", "HTTP/1.1 400 Bad\r\n\r\n"}, {"<|", ""}, {">|", ""}}, 0, "length_and_encoding"},
	{"lengths that differ", []turn{{">", "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"}, {"<", "no"}, {"<|", ""}, {">|", ""}}, 0, "bad_length"},
	{"folded header", []turn{{">", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, {">", "GET / HTTP/1.1\r\n\r\n"}, {"<", "x"}, {"<|", ""}, {">|", ""}}, 0, "folded_header"},
	{"bare LF", []turn{{">", "GET / HTTP/1.1\nHost: a\n\n"}, {"<", "HTTP/1.1 200 OK\r\n\r\n"}, {"<|", ""}, {">|", ""}}, 0, "not_http"},
	{"bad chunk in a request", []turn{{">", "POST / HTTP/1.1\r\n" + chunked + "\r\n1\r\nxyz"}, {"<", "HTTP/1.1 400 Bad\r\nContent-Length: 1\r\n\r\n!"}, {"<|", ""}, {">|", ""}}, 1, "bad_chunk"},
	{"bad chunk in a response", []turn{{">", "GET / HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\n" + chunked + "\r\n1\r\nxyz"}, {">", "GET / HTTP/1.1\r\n\r\n"}, {"<", "more"}, {"<|", ""}, {">|", ""}}, 1, "bad_chunk"},
	{"second request is none", []turn{{">", "GET /1 HTTP/1.1\r\n\r\n\x00\x01"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"}, {"<", "?"}, {">|", ""}, {"<|", ""}}, 1, "bad_start_line"},
	{"banner without a line's end", []turn{{"<", "220 hi"}, {">", "EHLO"}, {"<", "250"}, {">|", ""}, {"<|", ""}}, 0, "server_first"},
	{"banner, then what looks like HTTP", []turn{{"<", "HTTP/1.1 408 Timeout\r\n\r\n"}, {">", "GET / HTTP/1.1\r\n\r\n"}, {"<|", ""}, {">|", ""}}, 0, "server_first"},
	{"answer to half a head", []turn{{">~", "GET / HTTP/1.1\r\nHo"}, {"<", "HTTP/1.1 408 Timeout\r\n\r\n"}, {">", ""}, {">", "st: a\r\n\r\n"}, {"<|", ""}, {">|", ""}}, 0, "server_first"},
	{"client first, unknown", []turn{{">", "PING"}, {"<", "PONG"}, {">", " GET"}, {"<", "x"}, {">|", ""}, {"<|", ""}}, 0, "server_first"},
	{"tls", []turn{{">", "\x16\x03\x01\x00\x05hello"}, {"<", "\x16\x03\x03"}, {">|", ""}, {"<|", ""}}, 0, "tls"},
	{"http2", []turn{{">", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"}, {"<", "\x00\x00\x00\x04\x00\x00\x00\x00\x00"}, {">|", ""}, {"<|", ""}}, 0, ""},
	{"http2, server first", []turn{{"<", "\x00\x00"}, {"<", "\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"}, {">", "PRI * H"}, {">", "TTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"}, {"<", "\x00\x00\x00\x04\x01\x00\x00\x00\x00"}, {">|", ""}, {"<|", ""}}, 0, ""},
	{"http2 from the server alone", []turn{{"<", "\x00\x00\x00\x04\x00\x00\x00\x00\x00"}, {">", "GET / HTTP/1.1\r\n\r\n"}, {"<", "\x00\x00\x00\x07\x00\x00\x00\x00\x00"}, {">|", ""}, {"<|", ""}}, 1, "server_first"},
	{"banner that begins as http2", []turn{{"<", "\x00\x00\x06\x04"}, {"<", "\x01hello"}, {">", "hi"}, {">|", ""}, {"<|", ""}}, 0, "server_first"},
	{"http2 to a server of HTTP/1", []turn{{">", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"}, {"<", "HTTP/1.1 400 Bad Request\r\n\r\n"}, {"<|", ""}, {">|", ""}}, 0, "http2_preface"},
	{"http2 with another preface", []turn{{">", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"}, {"<", "x"}, {">|", ""}, {"<|", ""}}, 0, "http2_preface"},
	{"half a head, then the end", []turn{{">~", "GET / HTTP/1.1\r\nHost: a\r\n"}, {">|", ""}, {"<", "HTTP/1.1 400 Bad\r\n\r\n"}, {"<|", ""}}, 0, "server_first"},
	{"end of requests before the answer", []turn{{">", "GET / HTTP/1.1\r\n\r\n"}, {">|", ""}, {"<", "HTTP/1.1 200 OK\r\n\r\n"}, {"<", "answer"}, {"<|", ""}}, 1, ""},
	{"60 KiB of fields", []turn{{">", "GET / HTTP/1.1\r\n" + strings.Repeat("A: "+strings.Repeat("x", 95)+"\r\n", 600) + "\r\n"}, {"<", "HTTP/1.1 200 OK\r\n" + strings.Repeat("B: "+strings.Repeat("y", 95)+"\r\n", 600) + "Content-Length: 1\r\n\r\n1"}, {">|", ""}, {"<|", ""}}, 1, ""},
	{"70 KiB of fields", []turn{{">", "GET / HTTP/1.1\r\n" + strings.Repeat("A: "+strings.Repeat("x", 95)+"\r\n", 700) + "\r\n"}, {"<", "HTTP/1.1 431 Large\r\n\r\n"}, {"<|", ""}, {">|", ""}}, 0, "head_too_large"},
	{"large bodies", []turn{{">", "PUT / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + strings.Repeat("0123456789", 300000)}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("0123456789", 200000)}, {">", "GET / HTTP/1.1\r\n\r\n"}, {"<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, {">|", ""}, {"<|", ""}}, 2, ""},
}

// TestOnTheWire holds every conversation through the proxy, in and out, and
// direct: both ends must receive the same bytes but for inserted fields.
func TestOnTheWire(t *testing.T) {
	for _, c := range conversations {
		t.Run(c.name, func(t *testing.T) {
			r := start(t)
			for i, direction := range []string{"direct", "inbound", "outbound"} {
				backend := listen(t)
				r.to(backend)
				front := []net.Listener{backend, r.inbound, r.outbound}[i]
				converse(t, direction, dial(t, front), backend, c.turns)
				spans := i * c.spans
				if c.spans == 0 && c.blind != "" && direction == "outbound" { // the connection's own
					spans = 1
				}
				r.spans.wait(t, spans)
				if i > 0 && c.blind != "" {
					eventually(t, func() bool { return r.metrics.Blind.Value(metrics.Cause{Direction: direction, Reason: c.blind}) == 1 })
				}
			}
			for direction, side := range map[string]*metrics.Side{"inbound": &r.metrics.Inbound, "outbound": &r.metrics.Outbound} {
				eventually(t, func() bool { return side.Open.Load() == 0 })
				if n := side.Connections.Load(); n != 1 {
					t.Errorf("%d %s connections counted, want 1", n, direction)
				}
			}
		})
	}
}

// converse plays the turns on both ends of a connection.
func converse(t *testing.T, direction string, client *net.TCPConn, backend net.Listener, turns []turn) {
	t.Helper()
	accepted, err := backend.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	defer client.Close()
	server := accepted.(*net.TCPConn)
	server.SetDeadline(time.Now().Add(patience))
	owed := map[byte]string{}
	for i, turn := range turns {
		who, from, to := turn.who[0], client, server
		if who == '<' {
			from, to = server, client
		}
		ends, holds := strings.HasSuffix(turn.who, "|"), strings.HasSuffix(turn.who, "~")
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(from, turn.bytes)
			if ends {
				err = from.CloseWrite()
			}
			sent <- err
		}()
		if owed[who] += turn.bytes; !holds {
			if got, err := receive(to, owed[who]); err != nil {
				t.Fatalf("%s, turn %d: received %.200q, %v; want %.200q", direction, i, got, err, owed[who])
			}
			owed[who] = ""
		}
		if err := <-sent; err != nil {
			t.Fatalf("%s, turn %d: sending: %v", direction, i, err)
		}
		if ends {
			expectEnd(t, to)
		}
	}
}

// receive reads until it has, inserted fields left out, what is wanted.
func receive(r io.Reader, want string) (string, error) {
	var got []byte
	buf := make([]byte, 32<<10)
	for len(got) < len(want) || plain(string(got)) != want {
		n, err := r.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			return plain(string(got)), err
		}
	}
	return want, nil
}
