package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// handshake is a browser's, with the frames of a client that does not wait for
// the answer.
const handshake = "GET /chat?room=17 HTTP/1.1\r\n" +
	"Host: orders:8080\r\nConnection: keep-alive, Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nUpgrade: websocket\r\n" +
	"Origin: http://shop.example\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: en\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"

// A text frame and a ping as a browser sends them, masked, and how the server
// answers.
const (
	textFrame, textAnswer = "\x81\x85\x00\x00\x00\x00hello", "\x81\x05hello"
	pingFrame, pongAnswer = "\x89\x82\x01\x01\x01\x01hi", "\x8a\x02ih"
	closeFrame, goodbye   = "\x88\x80\x00\x00\x00\x00", "\x88\x00"
)

// serveWebSocket accepts handshakes and echoes short messages.
func serveWebSocket(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	for {
		var head [6]byte // of a masked frame below 126 bytes
		if _, err := io.ReadFull(buffered, head[:]); err != nil {
			return
		}
		payload := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(buffered, payload); err != nil {
			return
		}
		for i := range payload {
			payload[i] ^= head[2+i%4]
		}
		opcode := head[0]
		if opcode == 0x89 {
			opcode = 0x8a
		}
		conn.Write(append([]byte{opcode, byte(len(payload))}, payload...))
		if opcode == 0x88 {
			return
		}
	}
}

// TestWebSocket connects a pod's application by WebSocket from outside, and has
// it connect to another one.
func TestWebSocket(t *testing.T) {
	pod, peer, spans, stop := captured(t)
	heads := make(chan string, 1)
	chat := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heads <- r.Header.Get("Traceparent")
		serveWebSocket(w, r)
	})
	go http.Serve(pod.listen(":8080"), chat)
	go http.Serve(peer.listen(":8080"), chat)
	for kind, dial := range map[string]func() (net.Conn, error){
		"server": func() (net.Conn, error) { return peer.dial(podV4 + ":8080") },
		"client": func() (net.Conn, error) { return pod.dial(peerV4 + ":8080") },
	} {
		t.Run(kind, func(t *testing.T) {
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			io.WriteString(conn, handshake+textFrame+pingFrame[:3])
			in := bufio.NewReader(conn)
			answer, err := http.ReadResponse(in, nil)
			if err != nil || answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Fatalf("answer %+v, %v", answer, err)
			}
			for _, turn := range [][2]string{{"", textAnswer}, {pingFrame[3:], pongAnswer}, {textFrame, textAnswer}, {closeFrame, goodbye}} {
				io.WriteString(conn, turn[0])
				got := make([]byte, len(turn[1]))
				if _, err := io.ReadFull(in, got); string(got) != turn[1] {
					t.Fatalf("the answer to %q is %q, %v; want %q", turn[0], got, err, turn[1])
				}
			}
			if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
				t.Errorf("then %q, %v", rest, err)
			}
			span := spans.find(t, traceparentOf(t, <-heads)[2])
			if span.OperationName != "GET /chat" || tag(span, "span.kind") != kind || anyTag(span, "http.status_code") != "101" || anyTag(span, "error") != "" {
				t.Errorf("the span says %+v", span)
			}
		})
	}
	if err := stop(); err != nil {
		t.Errorf("netra ended with %v", err)
	}
}
