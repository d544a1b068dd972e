package http1

import "testing"

// FuzzFramer checks that a Framer gives the same pieces however the stream is
// cut, never a piece beyond its input, and that a stream is never stuck.
func FuzzFramer(f *testing.F) {
	f.Add(false, uint8(1), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	f.Add(true, uint8(2), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\nHTTP/1.1 204 \r\n\r\n")
	f.Fuzz(func(t *testing.T, response bool, size uint8, stream string) {
		role := Request
		if response {
			role = Response
		}
		if len(stream) > 2048 { // byte by byte costs the square; TestHeadLimit covers long heads
			return
		}
		methods := []string{"GET", "HEAD", "CONNECT", "GET"}
		whole := transcript(role, stream, len(stream)+1, methods...)
		cut := transcript(role, stream, int(size)+1, methods...)
		if whole != cut {
			t.Errorf("in one piece:\n%s\nin pieces of %d:\n%s", whole, int(size)+1, cut)
		}
	})
}
