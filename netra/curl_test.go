package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// startNginx starts nginx in the pod: on port 8080 as a server of files and as a
// proxy in front of a service outside, on port 8081 with HTTP/2.
func startNginx(t *testing.T, pod netns) {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`
daemon off; user root; pid %[1]s/pid; worker_processes 1; error_log stderr;
events {}
http {
  access_log off; large_client_header_buffers 8 128k; default_type text/plain;
  client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
  gzip on; gzip_min_length 1; gzip_types text/plain;
  upstream inventory { server %[2]s:9090; keepalive 4; }
  server {
    listen 0.0.0.0:8080; listen 0.0.0.0:8081 http2;
    root %[1]s;
    location /inventory/ {
      proxy_pass http://inventory; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }
  }
}`, dir, peerV4)
	if err := os.Mkdir(filepath.Join(dir, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"nginx.conf": config, "files/numbers": strings.Repeat("0123456789", 1000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	pod.program("127.0.0.1:8080", "nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
}

// startInventory starts the service behind nginx. Its events come one by one, as
// the returned channel is filled.
func startInventory(peer netns) (more chan string) {
	more = make(chan string)
	mux := http.NewServeMux()
	mux.HandleFunc("/inventory/items/", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d bytes of %v, %v", n, r.TransferEncoding, err)
	})
	mux.HandleFunc("/inventory/chunked", func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "part %d\n", i)
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/inventory/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for event := range more {
			fmt.Fprintf(w, "data: %s\n\n", event)
			w.(http.Flusher).Flush()
		}
	})
	go http.Serve(peer.listen(":9090"), mux)
	return more
}

// curlCase is how curl is called.
type curlCase struct {
	name, path string
	args       []string
	prints     string // in what curl prints
	code       string // of the spans; empty: there are none
	spans      int
}

func curlCases(t *testing.T) []curlCase {
	t.Helper()
	body := filepath.Join(t.TempDir(), "body")
	large, larger := filepath.Join(t.TempDir(), "large"), filepath.Join(t.TempDir(), "larger")
	field := "X-Large-%d: " + strings.Repeat("x", 4000) + "\n"
	for path, content := range map[string]string{body: strings.Repeat("b", 300_000), large: numbered(field, 15), larger: numbered(field, 20)} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return []curlCase{
		{"keep-alive", "/files/numbers?k=[1-5]", []string{"-w", " connects %{num_connects}\n"}, "connects 0\n", "200", 5},
		{"head", "/files/numbers?head", []string{"-I"}, "Content-Length: 10000\r\n", "200", 1},
		{"range", "/files/numbers?range", []string{"-r", "5-14,20-"}, "Content-Range: bytes 20-9999/10000", "206", 1},
		{"not modified", "/files/numbers?modified", []string{"-H", "If-None-Match: *"}, "304 Not Modified", "304", 1},
		{"compressed", "/files/numbers?gzip", []string{"-H", "Accept-Encoding: gzip"}, "Content-Encoding: gzip\r\n", "200", 1},
		{"http/1.0", "/files/numbers?old", []string{"-0"}, "Connection: close\r\n", "200", 1},
		{"expect", "/inventory/items/17?expect", []string{"-H", "Expect: 100-continue", "--data-binary", "@" + body}, "300000 bytes", "200", 1},
		{"chunked upload", "/inventory/items/17?chunked", []string{"-H", "Transfer-Encoding: chunked", "--data-binary", "@" + body}, "300000 bytes", "200", 1},
		{"chunked answer", "/inventory/chunked", nil, "Transfer-Encoding: chunked\r\n", "200", 1},
		{"60 KB of fields", "/files/numbers?large", []string{"-H", "@" + large}, "0123456789", "200", 1},
		{"80 KB of fields", "/files/numbers?larger", []string{"-H", "@" + larger}, "0123456789", "", 0},
		{"not found", "/files/none", nil, "404 Not Found", "404", 1},
		{"http/2", "/files/numbers?h2", []string{"--http2-prior-knowledge"}, "HTTP/2 200 \r\n", "200", 1},
		{"http/2 upload", "/inventory/items/17?h2", []string{"--http2-prior-knowledge", "--data-binary", "@" + body}, "300000 bytes", "200", 1},
	}
}

// TestCurlAndNginx has curl ask nginx in a pod, once past netra, from within the
// pod, and once through it: what curl prints must be the same.
func TestCurlAndNginx(t *testing.T) {
	pod, peer, spans, stop := captured(t)
	startNginx(t, pod)
	more := startInventory(peer)
	for _, test := range curlCases(t) {
		t.Run(test.name, func(t *testing.T) {
			port := "8080"
			if strings.HasPrefix(test.name, "http/2") {
				port = "8081"
			}
			curl := func(from netns, host string) string {
				from.t = t
				return from.output("curl", append([]string{"-sS", "-D", "-", "-A", "curl", "http://" + host + ":" + port + test.path}, test.args...)...)
			}
			direct, proxied := unhurried(curl(pod, "127.0.0.1")), unhurried(curl(peer, podV4))
			if direct != proxied {
				t.Errorf("curl printed %.500q\nwithout netra %.500q", proxied, direct)
			}
			if !strings.Contains(proxied, test.prints) {
				t.Errorf("curl printed %.500q, want %q in it", proxied, test.prints)
			}
			target := strings.Replace(test.path, "[1-5]", "", 1)
			for _, s := range spans.await(t, test.spans, test.name, func(s *thriftgen.Span) bool {
				return tag(s, "span.kind") == "server" && strings.HasPrefix(tag(s, "http.target"), target) && tag(s, "peer.address") != ""
			}) {
				if got := anyTag(s, "http.status_code"); got != test.code || tag(s, "http.user_agent") != "curl" || anyTag(s, "error") != "" {
					t.Errorf("the span says %s, %+v", got, s)
				}
			}
		})
	}
	t.Run("events", func(t *testing.T) {
		peer := peer
		peer.t = t
		expectEvents(t, peer, spans, more)
	})
	if err := stop(); err != nil {
		t.Errorf("netra ended with %v", err)
	}
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// boundary matches what nginx makes up for each answer of several ranges.
var boundary = regexp.MustCompile(`(?m)(?:boundary=|--)\d{20}|^(?i:Date: .*)$`)

// unhurried removes what is not the same in two answers.
func unhurried(s string) string { return boundary.ReplaceAllString(s, "") }

// expectEvents has curl receive events one by one.
func expectEvents(t *testing.T, peer netns, spans *collector, more chan string) {
	t.Helper()
	out := bufio.NewReader(peer.lines("curl", "-sSN", "-A", "curl", "http://"+podV4+":8080/inventory/events"))
	for _, event := range []string{"one", "two", "three"} {
		more <- event // and no sooner than the one before has arrived
		for _, want := range []string{"data: " + event + "\n", "\n"} {
			if got, err := out.ReadString('\n'); got != want {
				t.Fatalf("curl printed %q, %v, want %q", got, err, want)
			}
		}
	}
	close(more)
	server := spans.await(t, 1, "the events", having(map[string]string{"span.kind": "server", "http.target": "/inventory/events"}))[0]
	call := spans.await(t, 1, "the call for them", having(map[string]string{"span.kind": "client", "http.target": "/inventory/events"}))[0]
	// nginx forwards the headers that it was sent.
	if call.ParentSpanId != server.SpanId || tag(call, "netra.link") != "headers" {
		t.Errorf("the call is below %x, want %x: %+v", call.ParentSpanId, server.SpanId, call)
	}
}
