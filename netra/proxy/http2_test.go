package proxy

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

const parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// everything writes frames of every kind, in all the forms that they may have.
// With traced, some of the requests have a traceparent.
func everything(e *peer, traced bool) {
	tracing := func(fields ...string) []string {
		if traced {
			fields = append(fields, parent)
		}
		return fields
	}
	e.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}, http2.Setting{ID: 0xfff, Val: 7})
	e.WriteWindowUpdate(0, 1<<20)
	e.WritePriority(9, http2.PriorityParam{StreamDep: 3, Weight: 9})
	e.request(1, false, tracing("x-first: indexed", "secret: s")...)
	e.WriteDataPadded(1, false, []byte("one"), bytes.Repeat([]byte{0}, 200))
	e.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 3, EndHeaders: true, PadLength: 7, Priority: http2.PriorityParam{StreamDep: 1, Exclusive: true, Weight: 200},
		BlockFragment: e.block(tracing(":method: POST", ":scheme: http", ":path: /orders", "x-first: indexed", "x-second: "+strings.Repeat("y", 100))...),
	})
	block := e.block(tracing(":method: GET", ":scheme: http", ":path: /", "x-first: indexed", "x-third: "+strings.Repeat("z", 30000))...)
	e.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, EndStream: true, BlockFragment: block[:1]})
	e.WriteContinuation(5, false, nil)
	e.WriteContinuation(5, false, block[1:16000])
	e.WriteContinuation(5, true, block[16000:])
	e.WritePing(false, [8]byte{1, 2, 3})
	e.WriteRawFrame(0xbe, 0xff, 3, []byte("unknown"))
	e.WriteData(3, false, bytes.Repeat([]byte("x"), 16384))
	e.headers(1, true, "x-trailer: t", "x-first: indexed")
	e.WriteData(3, true, nil)
	full := e.block(":method: GET", ":scheme: http", ":path: /", "x: "+strings.Repeat("~", 16300))
	e.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, EndStream: true, EndHeaders: true, BlockFragment: full})
	e.request(9, true, "x-first: indexed")
	e.WriteRSTStream(7, http2.ErrCodeCancel)
	e.WriteGoAway(0, http2.ErrCodeNo, []byte("bye"))
}

// TestFramesArriveAsTheyWereSent compares what a server receives, direct and
// through the proxy, with and without trace headers, however it is cut.
func TestFramesArriveAsTheyWereSent(t *testing.T) {
	for _, traced := range []bool{false, true} {
		var sent bytes.Buffer
		everything(newEnd(t, &sent), traced)
		want := frames(t, bytes.NewReader(sent.Bytes()))
		for _, size := range []int{sent.Len(), 1, 5, 1000} {
			t.Run(fmt.Sprint("traced ", traced, " in pieces of ", size), func(t *testing.T) {
				r := start(t)
				c, s := pair(t, r)
				go func() {
					io.WriteString(c, http2.ClientPreface)
					for rest := sent.Bytes(); len(rest) > 0; {
						n, _ := c.Write(rest[:min(size, len(rest))])
						rest = rest[n:]
					}
					c.CloseWrite()
				}()
				expect(t, s, http2.ClientPreface)
				got := frames(t, s)
				if len(got) != len(want) {
					t.Fatalf("%d frames and blocks, want %d: %.300q", len(got), len(want), got)
				}
				requests := 0
				for i := range got {
					if strings.Contains(got[i], "\r\n:path") && !strings.Contains(got[i], "traceparent: ") {
						t.Errorf("not traced: %.300q", got[i])
					}
					if strings.Contains(want[i], parent) && (!strings.Contains(got[i], parent[:47]) || strings.Contains(got[i], parent)) {
						t.Errorf("not joined to its parent: %.300q", got[i])
					}
					if plain2(got[i]) != plain2(want[i]) {
						t.Errorf("frame %d\nreceived %.300q\nwant     %.300q", i, plain2(got[i]), plain2(want[i]))
					}
					if strings.Contains(got[i], "\r\n:path") {
						requests++
					}
				}
				if requests != 5 {
					t.Errorf("%d requests, want 5", requests)
				}
				if n := r.metrics.Blind.Value(metrics.Cause{Direction: "inbound", Reason: reasonHPACK}); n != 0 {
					t.Error("the connection was given up")
				}
			})
		}
	}
}

// TestServersFramesArriveAsTheyWereSent compares bytes, and checks that the
// header blocks among them are understood.
func TestServersFramesArriveAsTheyWereSent(t *testing.T) {
	var sent bytes.Buffer
	e := newEnd(t, &sent)
	e.WritePing(false, [8]byte{1})
	e.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: e.block(":method: GET", ":path: /pushed"), EndHeaders: true, PadLength: 3})
	head := e.block(":status: 201", "x-same: value", "content-type: application/grpc")
	e.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head[:2], PadLength: 9})
	e.WriteContinuation(1, false, nil)
	e.WriteContinuation(1, true, head[2:])
	e.WriteDataPadded(1, false, []byte("body"), make([]byte, 255))
	e.WriteRawFrame(0xbe, 0xff, 1, []byte("unknown"))
	e.headers(2, true, ":status: 404", "x-same: value")
	e.headers(3, true, ":status: 503", "x-same: value", "content-type: application/grpc")
	e.headers(1, true, "x-same: value", "grpc-status: 13")
	e.WriteGoAway(3, http2.ErrCodeNo, []byte("bye"))
	for _, size := range []int{sent.Len(), 1, 7} {
		r := start(t)
		client, server := ends(t, r)
		for _, id := range []uint32{1, 3} {
			client.headers(id, true, ":method: POST", ":scheme: http", ":path: /shop.Orders/Get", "content-type: application/grpc")
			server.read()
		}
		go func() {
			for rest := sent.Bytes(); len(rest) > 0; {
				n, _ := server.in.(io.Writer).Write(rest[:min(size, len(rest))])
				rest = rest[n:]
			}
		}()
		expect(t, client.in, sent.String())
		spans := r.spans.wait(t, 2)
		got := outcome(spans[0]) + ", " + outcome(spans[1]) + " " + fmt.Sprint(tag(spans[1], "grpc.status"))
		if want := "503 0 <nil> <nil>, 201 4 <nil> <nil> INTERNAL"; got != want {
			t.Errorf("in pieces of %d: %s, want %s", size, got, want)
		}
	}
}

// outcome is what a span says of how its stream ended.
func outcome(s trace.Span) string {
	return fmt.Sprint(tag(s, "http.status_code"), " ", tag(s, "http.response_size"), " ", tag(s, "error.reason"), " ", tag(s, "netra.blind"))
}

func TestSpanOfAStream(t *testing.T) {
	head := func(s *peer, status string, end bool) { s.headers(1, end, ":status: "+status) }
	tests := []struct {
		name, want string
		act        func(client, server *peer)
	}{
		{"answered", "200 5 <nil> <nil>", func(_, s *peer) {
			head(s, "103", false)
			head(s, "200", false)
			s.WriteDataPadded(1, false, []byte("ab"), []byte{0, 0})
			s.WriteData(1, true, []byte("cde"))
			s.WriteRSTStream(1, http2.ErrCodeNo)
		}},
		{"answered with no status there is", "<nil> 0 <nil> <nil>", func(_, s *peer) { head(s, "99999", true) }},
		{"answered without a body", "404 0 <nil> <nil>", func(_, s *peer) { head(s, "404", true) }},
		{"trailers", "200 1 <nil> <nil>", func(_, s *peer) {
			head(s, "200", false)
			s.WriteData(1, false, []byte("x"))
			s.headers(1, true, "x-sum: 1")
		}},
		{"reset by the server", "200 0 stream reset: INTERNAL_ERROR <nil>", func(_, s *peer) {
			head(s, "200", false)
			s.WriteRSTStream(1, http2.ErrCodeInternal)
		}},
		{"refused", "<nil> 0 stream refused <nil>", func(_, s *peer) { s.WriteRSTStream(1, http2.ErrCodeRefusedStream) }},
		{"reset by the client", "<nil> 0 client reset: CANCEL <nil>", func(c, _ *peer) { c.WriteRSTStream(1, http2.ErrCodeCancel) }},
		{"goaway before it", "<nil> 0 stream refused <nil>", func(_, s *peer) { s.WriteGoAway(0, http2.ErrCodeNo, nil) }},
		{"goaway behind it", "200 0 <nil> <nil>", func(_, s *peer) {
			s.WriteGoAway(1, http2.ErrCodeNo, nil)
			head(s, "200", true)
		}},
		{"closed", "<nil> 0 connection closed <nil>", func(_, s *peer) { s.in.(io.Closer).Close() }},
		{"truncated", "200 2 response truncated <nil>", func(_, s *peer) {
			head(s, "200", false)
			s.WriteData(1, false, []byte("xx"))
			s.in.(io.Closer).Close()
		}},
		{"the server's faulty block", "<nil> 0 <nil> http2_hpack", func(_, s *peer) {
			s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x80}, EndHeaders: true})
		}},
		{"too large a block of the server's", "<nil> 0 <nil> http2_head_too_large", func(c, s *peer) {
			go io.Copy(io.Discard, c.in)
			s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 16384)})
			for range 4 {
				s.WriteContinuation(1, false, make([]byte, 16384))
			}
		}},
		{"the client's faulty block", "<nil> 0 <nil> http2_hpack", func(c, _ *peer) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte{0x80}, EndHeaders: true})
		}},
		{"a frame within the server's block", "<nil> 0 <nil> http2_continuation", func(_, s *peer) {
			s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}})
			s.WritePing(false, [8]byte{})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t)
			client, server := ends(t, r)
			client.request(1, true)
			server.read()
			tt.act(client, server)
			if got := outcome(r.spans.wait(t, 1)[0]); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestStreamsOpenedAfterGoAwayAreRefused(t *testing.T) {
	r := start(t)
	client, server := ends(t, r)
	server.WriteGoAway(0, http2.ErrCodeNo, nil)
	client.read()
	client.request(1, true)
	server.read()
	if got := outcome(r.spans.wait(t, 1)[0]); got != "<nil> 0 stream refused <nil>" {
		t.Error(got)
	}
}

// TestFaultsReachTheServer sends what ends the following of a connection, as the
// first request or behind one whose traceparent was replaced.
func TestFaultsReachTheServer(t *testing.T) {
	const faulty = "\x00\x00\x01\x01\x05\x00\x00\x00\x05\x80"
	var large bytes.Buffer
	e := newEnd(t, &large)
	e.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: make([]byte, 16384)})
	for range 5 {
		e.WriteContinuation(5, false, make([]byte, 16384))
	}
	for name, bytes := range map[string]string{
		"hpack": faulty, "stray continuation": "\x00\x00\x01\x09\x04\x00\x00\x00\x05\x82",
		"too large a block": large.String(), "settings of a stream": "\x00\x00\x00\x04\x00\x00\x00\x00\x05",
	} {
		for _, traced := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " traced ", traced), func(t *testing.T) {
				r := start(t)
				client, server := ends(t, r)
				if traced {
					client.request(1, true, parent)
					server.read()
				}
				send(t, client.in.(io.Writer), bytes)
				expect(t, server.in, bytes)
				// And whatever follows, as in a tunnel.
				send(t, client.in.(io.Writer), get)
				expect(t, server.in, get)
				send(t, server.in.(io.Writer), empty)
				expect(t, client.in, empty)
			})
		}
	}
}

func TestBlocksAreWrittenAnewThoughNothingIsTraced(t *testing.T) {
	r := start(t)
	client, server := ends(t, r)
	client.request(1, true, parent, "a: 1")
	server.read()
	server.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x80}, EndHeaders: true})
	r.spans.wait(t, 1)
	// The client refers to what its table has.
	client.request(3, true, parent, "a: 1")
	got := server.read()
	want := "HEADERS 3 end true priority  padding 0\r\n:method: GET\r\n:scheme: http\r\n:path: /orders/17\r\n:authority: orders\r\n" + parent + "\r\na: 1\r\n"
	if got != want {
		t.Errorf("received %q\nwant     %q", got, want)
	}
}

func TestTableThatCannotBeFollowedIsLeftAlone(t *testing.T) {
	r := start(t)
	client, server := ends(t, r, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1 << 20})
	client.request(1, true, parent)
	if got := server.read(); !strings.Contains(got, "\r\n"+parent+"\r\n") || !strings.Contains(got, "\r\nuber-trace-id: ") {
		t.Errorf("received %q", got)
	}
	client.encoder.SetMaxDynamicTableSizeLimit(1 << 20)
	client.encoder.SetMaxDynamicTableSize(1 << 20)
	server.decoder.SetAllowedMaxDynamicTableSize(1 << 20)
	client.request(3, true, "a: "+strings.Repeat("x", 9000))
	client.request(5, true, "a: "+strings.Repeat("x", 9000))
	for range 2 {
		if got := server.read(); strings.Contains(got, "traceparent") || !strings.Contains(got, "xxx\r\n") {
			t.Errorf("received %.300q", got)
		}
	}
}

func TestTooManyStreamsAreNotTraced(t *testing.T) {
	r := start(t)
	client, server := ends(t, r)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range uint32(maxStreams + 2) {
			client.request(2*i+1, true)
		}
	}()
	for i := range maxStreams + 2 {
		if got := strings.Contains(server.read(), "traceparent"); got != (i < maxStreams) {
			t.Fatalf("request %d: traced %v", i, got)
		}
	}
	for i := range uint32(maxStreams + 2) {
		server.headers(2*i+1, true, ":status: 200")
		client.read()
	}
	r.spans.wait(t, maxStreams)
	<-sent
	client.request(9001, true)
	if !strings.Contains(server.read(), "traceparent") {
		t.Error("a stream after them is not traced")
	}
	if n := r.metrics.Blind.Value(metrics.Cause{Direction: "inbound", Reason: "too_many_streams"}); n != 1 {
		t.Errorf("counted %d times", n)
	}
}

func TestStreamsJoinAsRequestsDo(t *testing.T) {
	a := newApp(t)
	client, server := ends(t, a.rig)
	client.request(1, true)
	one := &inFlight{head: server.read()}
	a.expectLink("", trace.LinkInferred, one)
	client.request(3, true, "x-request-id: mine")
	two := &inFlight{head: server.read()}
	a.expectLink("", trace.LinkAmbiguous, nil)
	a.expectLink("X-Request-Id: mine\r\n", trace.LinkRequestID, two)
	server.headers(1, true, ":status: 200")
	client.read()
	a.expectLink("", trace.LinkLikely, two)
}

func TestHeadOfAStream(t *testing.T) {
	r := start(t, func(_ *Settings, ts *trace.Settings) {
		ts.CookieTags = map[string]string{"one": "one", "two": "two"}
	})
	client, server := ends(t, r)
	client.headers(1, true, ":method: PUT", ":scheme: http", ":path: /a/17?b", ":authority: orders:80", "host: other", "cookie: one=1", "cookie: two=2", "user-agent: mine")
	client.headers(3, true, ":method: CONNECT", ":authority: db:5432")
	untraced := [][]string{
		{":scheme: http", ":path: /"}, {":method: GET", ":path: "}, {":method: GET", ":path: /a b"}, {":method: GET", ":path: /\x00"},
		{":method: " + strings.Repeat("X", 33), ":path: /"},
	}
	for i, fields := range untraced {
		client.headers(uint32(5+2*i), true, fields...)
	}
	client.headers(99, true, ":method: GET", ":path: /", "user-agent: kube-probe/1.36 grpc-go/1.84")
	for i := range uint32(3 + len(untraced)) {
		if got, traced := server.read(), i < 2; strings.Contains(got, "traceparent") != traced {
			t.Errorf("received %q", got)
		}
	}
	server.headers(1, true, ":status: 200")
	client.read()
	server.headers(3, true, ":status: 200")
	spans := r.spans.wait(t, 2)
	got := fmt.Sprint(spans[0].Name, " ", tag(spans[0], "http.host"), " ", tag(spans[0], "http.target"), " ", tag(spans[0], "one"), tag(spans[0], "two"), " ", tag(spans[0], "http.user_agent"))
	if want := "PUT /a/{id} orders:80 /a/17?b 12 mine"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if spans[1].Name != "CONNECT" || tag(spans[1], "http.target") != "db:5432" {
		t.Errorf("%+v", spans[1])
	}
}
