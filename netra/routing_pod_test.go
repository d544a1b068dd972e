package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// TestRoutingInAPod runs netra in a network namespace beside an application that
// calls a service, on one connection, for each request, and forwards nothing.
func TestRoutingInAPod(t *testing.T) {
	pod, peer := podAndPeer(t)
	startNetra(t, pod, "JAEGER_SERVICE_NAME=orders", "JAEGER_DISABLED=true", "NETRA_HTTP_ROUTING_ENABLED=true", "NETRA_HTTP_ROUTING_COOKIE_ENABLED=true")
	capture(t, pod)
	for port, name := range map[string]string{":9090": "stock", ":9091": "mine"} {
		go http.Serve(peer.listen(port), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s", name, r.Header.Get("X-Route"))
		}))
	}
	var dialled atomic.Int32
	fromPod := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		dialled.Add(1)
		return pod.dial(peerV4 + ":9090")
	}}}
	defer fromPod.CloseIdleConnections()
	go http.Serve(pod.listen(":8080"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := fromPod.Get("http://stock/")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		io.Copy(w, answer.Body)
	}))
	const route = "stock=" + peerV4 + ":9091"
	for _, tt := range []struct{ field, value, want string }{
		{"X-None", "", "stock "},
		{"X-Route", route, "mine " + route},
		{"Cookie", "X-Route=" + route, "mine " + route},
		{"X-Route", "other=" + peerV4, "stock other=" + peerV4},
		{"X-Route", "stock", "stock "},
	} {
		request, err := http.NewRequest(http.MethodGet, "http://"+podV4+":8080/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(tt.field, tt.value)
		answer, err := clientIn(peer).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(answer.Body); string(body) != tt.want {
			t.Errorf("%s: %s: answer %q, %v; want %q", tt.field, tt.value, body, err, tt.want)
		}
	}
	if n := dialled.Load(); n != 1 {
		t.Errorf("the application made %d connections, want 1", n)
	}
}
