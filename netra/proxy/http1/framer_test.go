package http1

import (
	"fmt"
	"strings"
	"testing"
)

// transcript feeds stream in pieces of the given size and writes down what the
// Framer said: one line for each message's parts and the doubt, with how many
// bytes came before it. answers are the methods that a Response framer's heads
// answer, the last one for all further ones.
func transcript(role Role, stream string, size int, answers ...string) string {
	var b strings.Builder
	f := NewFramer(role)
	var unread []byte
	at, body := 0, 0
	flush := func(end bool) {
		if body > 0 || end {
			fmt.Fprintf(&b, "body %d payload %d end %v\n", body, f.Payload, end)
		}
		body = 0
	}
	for at < len(stream) || len(unread) > 0 {
		p := f.Next(unread)
		if p.N == 0 && p.Kind == Need {
			if at == len(stream) {
				break
			}
			n := min(size, len(stream)-at)
			unread = append(append([]byte(nil), unread...), stream[at:at+n]...)
			at += n
			continue
		}
		switch p.Kind {
		case Head:
			m := &f.Message
			if role == Request {
				fmt.Fprintf(&b, "head %d %s %s 1.%d end %v\n", p.N, m.Method, m.Target, m.Minor, p.End)
				break
			}
			method := "GET"
			if len(answers) > 0 {
				method = answers[0]
				answers = answers[min(1, len(answers)-1):]
			}
			answer := f.Answer(method)
			fmt.Fprintf(&b, "head %d %d 1.%d %s\n", p.N, m.Status, m.Minor, [...]string{"interim", "final", "ended", "tunnel"}[answer])
		case Body:
			body += p.N
			if p.End {
				flush(true)
			}
		case Gap:
			fmt.Fprintf(&b, "gap %d\n", p.N)
		case Doubt:
			flush(false)
			fmt.Fprintf(&b, "doubt %s\n", f.Reason)
			return b.String()
		}
		unread = unread[p.N:]
	}
	flush(false)
	fmt.Fprintf(&b, "left %d clean %v\n", len(unread), f.EOF())
	return b.String()
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

func TestRequests(t *testing.T) {
	tests := []struct{ name, stream, want string }{
		{"get", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			lines("head 27 GET / 1.1 end true", "left 0 clean true")},
		{"no fields", "GET / HTTP/1.0\r\n\r\n",
			lines("head 18 GET / 1.0 end true", "left 0 clean true")},
		{"length", "POST /a HTTP/1.1\r\ncontent-LENGTH:  5 \r\n\r\nhello",
			lines("head 41 POST /a 1.1 end false", "body 5 payload 5 end true", "left 0 clean true")},
		{"length cut", "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel",
			lines("head 39 POST /a 1.1 end false", "body 3 payload 3 end false", "left 0 clean false")},
		{"same length twice", "POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
			lines("head 58 POST /a 1.1 end false", "body 1 payload 1 end true", "left 0 clean true")},
		{"pipelined", "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nabHEAD /3 HTTP/1.1\r\n\r\n",
			lines("head 19 GET /1 1.1 end true", "head 39 POST /2 1.1 end false", "body 2 payload 2 end true", "head 20 HEAD /3 1.1 end true", "left 0 clean true")},
		{"empty line between", "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx\r\nGET / HTTP/1.1\r\n\r\n",
			lines("head 38 POST / 1.1 end false", "body 1 payload 1 end true", "gap 2", "head 18 GET / 1.1 end true", "left 0 clean true")},
		{"chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
			lines("head 47 POST / 1.1 end false", "body 37 payload 15 end true", "head 18 GET / 1.1 end true", "left 0 clean true")},
		{"chunk trailers", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1  \r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n",
			lines("head 53 POST / 1.1 end false", "body 25 payload 1 end true", "left 0 clean true")},
		{"absolute form", "GET http://a:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
			lines("head 41 GET http://a:80/x?y 1.1 end true", "left 0 clean true")},
		{"connect", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
			lines("head 39 CONNECT a:443 1.1 end true", "left 0 clean true")},
		{"head cut", "GET / HTTP/1.1\r\nHost: a\r\n", lines("left 25 clean false")},

		{"length and encoding", "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", lines("doubt length_and_encoding")},
		{"lengths differ", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", lines("doubt bad_length")},
		{"length list", "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", lines("doubt bad_length")},
		{"length sign", "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", lines("doubt bad_length")},
		{"length empty", "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", lines("doubt bad_length")},
		{"length huge", "POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n", lines("doubt bad_length")},
		{"encoding not last", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", lines("doubt bad_transfer_encoding")},
		{"encoding twice", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", lines("doubt bad_transfer_encoding")},
		{"chunked twice", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", lines("doubt bad_transfer_encoding")},
		{"encoding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", lines("doubt bad_transfer_encoding")},
		{"folded", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", lines("doubt folded_header")},
		{"bare LF", "GET / HTTP/1.1\r\nA: b\n\r\n", lines("doubt bare_lf")},
		{"bare LF in the request line", "GET / HTTP/1.1\nA: b\r\n\r\n", lines("doubt not_http")},
		{"bare CR", "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", lines("doubt bad_header")},
		{"space before colon", "GET / HTTP/1.1\r\nA : b\r\n\r\n", lines("doubt bad_header")},
		{"no colon", "GET / HTTP/1.1\r\nA\r\n\r\n", lines("doubt bad_header")},
		{"no name", "GET / HTTP/1.1\r\n: b\r\n\r\n", lines("doubt bad_header")},
		{"bad chunk size", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nzz\r\n", lines("head 47 POST / 1.1 end false", "body 6 payload 1 end false", "doubt bad_chunk")},
		{"chunk too long", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz", lines("head 47 POST / 1.1 end false", "body 4 payload 1 end false", "doubt bad_chunk")},
		{"chunk size huge", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff", lines("head 47 POST / 1.1 end false", "body 14 payload 0 end false", "doubt bad_chunk")},
		{"chunk bare LF", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\nx", lines("head 47 POST / 1.1 end false", "body 1 payload 0 end false", "doubt bad_chunk")},
		{"trailer bare LF", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n", lines("head 47 POST / 1.1 end false", "body 7 payload 0 end false", "doubt bad_chunk")},
		{"second is no request", "GET / HTTP/1.1\r\n\r\n\x00\x01", lines("head 18 GET / 1.1 end true", "doubt bad_start_line")},
		{"0.9", "GET /\r\n", lines("doubt not_http")},
		{"two spaces", "GET  / HTTP/1.1\r\n\r\n", lines("doubt not_http")},
		{"version 2", "GET / HTTP/2.0\r\n\r\n", lines("doubt not_http")},
		{"long method", strings.Repeat("A", 33) + " / HTTP/1.1\r\n\r\n", lines("doubt not_http")},
		{"tls", "\x16\x03\x01\x02\x00", lines("doubt tls")},
		{"http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", lines("doubt http2")},
		{"redis", "*1\r\n$4\r\nPING\r\n", lines("doubt not_http")},
		{"smtp", "EHLO example.org\r\n", lines("doubt not_http")},
		{"text without end", "HELLO", lines("left 5 clean false")},
		{"mysql", "\x4a\x00\x00\x00\x0a8.0", lines("doubt not_http")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { each(t, Request, tt.stream, tt.want) })
	}
}

func TestResponses(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	tests := []struct {
		name, answers, stream, want string
	}{
		{"length", "GET", ok + "Content-Length: 2\r\n\r\nabHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
			lines("head 38 200 1.1 final", "body 2 payload 2 end true", "head 45 404 1.1 ended", "left 0 clean true")},
		{"no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
			lines("head 35 200 1.1 ended", "head 36 200 1.1 ended", "left 0 clean true")},
		{"head with length", "HEAD GET", ok + "Content-Length: 9\r\n\r\n" + ok + "Content-Length: 1\r\n\r\nx",
			lines("head 38 200 1.1 ended", "head 38 200 1.1 final", "body 1 payload 1 end true", "left 0 clean true")},
		{"head chunked", "HEAD", ok + "Transfer-Encoding: chunked\r\n\r\n", lines("head 47 200 1.1 ended", "left 0 clean true")},
		{"continue", "POST", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok + "Content-Length: 1\r\n\r\nx",
			lines("head 25 100 1.1 interim", "head 37 103 1.1 interim", "head 38 200 1.1 final", "body 1 payload 1 end true", "left 0 clean true")},
		{"204 and 304", "GET", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
			lines("head 27 204 1.1 ended", "head 48 304 1.1 ended", "left 0 clean true")},
		{"until close", "GET", ok + "\r\nabc", lines("head 19 200 1.1 final", "body 3 payload 3 end false", "left 0 clean true")},
		{"1.0 until close", "GET", "HTTP/1.0 200 OK\r\n\r\nabc", lines("head 19 200 1.0 final", "body 3 payload 3 end false", "left 0 clean true")},
		{"chunked", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n",
			lines("head 47 200 1.1 final", "body 19 payload 3 end true", "head 38 200 1.1 ended", "left 0 clean true")},
		{"switching", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\x00\x01", lines("head 48 101 1.1 tunnel", "body 2 payload 2 end false", "left 0 clean true")},
		{"connected", "CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", lines("head 38 200 1.1 tunnel", "body 6 payload 6 end false", "left 0 clean true")},
		{"connect refused", "CONNECT", "HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nabc", lines("head 38 403 1.1 final", "body 3 payload 3 end true", "left 0 clean true")},
		{"cut", "GET", ok + "Content-Length: 5\r\n\r\nab", lines("head 38 200 1.1 final", "body 2 payload 2 end false", "left 0 clean false")},
		{"length and encoding", "GET", ok + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", lines("doubt length_and_encoding")},
		{"encoding identity", "GET", ok + "Transfer-Encoding: identity\r\n\r\n", lines("doubt bad_transfer_encoding")},
		{"banner", "GET", "220 mail ready\r\n", lines("doubt bad_start_line")},
		{"status of two digits", "GET", "HTTP/1.1 20\r\n\r\n", lines("doubt bad_start_line")},
		{"status of four digits", "GET", "HTTP/1.1 2000\r\n\r\n", lines("doubt bad_start_line")},
		{"empty line first", "GET", "\r\nHTTP/1.1 200 OK\r\n\r\n", lines("doubt bad_start_line")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { each(t, Response, tt.stream, tt.want, strings.Fields(tt.answers)...) })
	}
}

// each compares the transcript of the stream in one piece, byte by byte and in
// threes.
func each(t *testing.T, role Role, stream, want string, answers ...string) {
	t.Helper()
	for _, size := range []int{len(stream), 1, 3} {
		if got := transcript(role, stream, size, answers...); got != want {
			t.Errorf("in pieces of %d:\n%s\nwant:\n%s", size, got, want)
		}
	}
}

func TestHeadLimit(t *testing.T) {
	head := func(n int) string {
		const start, end = "GET / HTTP/1.1\r\nA: ", "\r\n\r\n"
		return start + strings.Repeat("x", n-len(start)-len(end)) + end
	}
	for _, size := range []int{MaxHead + 100, 1000} {
		if got, want := transcript(Request, head(MaxHead), size), lines("head 65536 GET / 1.1 end true", "left 0 clean true"); got != want {
			t.Errorf("a head of MaxHead bytes in pieces of %d: %s", size, got)
		}
		if got, want := transcript(Request, head(MaxHead+1), size), lines("doubt head_too_large"); got != want {
			t.Errorf("a head of MaxHead+1 bytes in pieces of %d: %s", size, got)
		}
	}
}

func TestFields(t *testing.T) {
	f := NewFramer(Request)
	stream := []byte("GET / HTTP/1.1\r\nHost: a\r\nx-EMPTY:\r\nX-Spaced: \t b c \t\r\n\r\n")
	if p := f.Next(stream); p.Kind != Head {
		t.Fatalf("Next = %+v", p)
	}
	var got []string
	for name, value := range f.Message.Fields() {
		got = append(got, fmt.Sprintf("%s=%s", name, value))
	}
	if want := "Host=a x-EMPTY= X-Spaced=b c"; strings.Join(got, " ") != want {
		t.Errorf("fields = %q, want %q", got, want)
	}
}

func TestHoldingBeginsAfterTheStartLine(t *testing.T) {
	f := NewFramer(Request)
	stream := "GET / HTTP/1.1\r\nA: b\r\n\r\n"
	for n := 1; n < len(stream); n++ {
		f.Next([]byte(stream[:n]))
		if want := n >= len("GET / HTTP/1.1\r\n"); f.Holding() != want {
			t.Errorf("after %q: Holding = %v, want %v", stream[:n], f.Holding(), want)
		}
	}
}
