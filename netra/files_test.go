package main

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestFewDescriptors gives netra room for few connections. More of them wait
// until others end; then all are served, and it is as before.
func TestFewDescriptors(t *testing.T) {
	pod, peer := podAndPeer(t)
	const files, clients = 128, 80 // netra keeps 64 for itself: 32 connections of two
	netra := startProcess(t, pod, []string{"prlimit", "--nofile=128:128", copyOfSelf(t)},
		"NETRA_TEST_MAIN=true", "JAEGER_SERVICE_NAME=orders", "JAEGER_DISABLED=true", "NETRA_DRAIN_TIMEOUT=1s")
	capture(t, pod)
	go http.Serve(pod.listen(":8080"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in stock") }))
	before := len(netra.descriptors(t))
	const request = "GET / HTTP/1.1\r\nHost: orders\r\n\r\n"
	var waiting []net.Conn
	for range clients {
		conn, err := peer.dial(podV4 + ":8080") // the kernel's queue takes it
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(3 * patience))
		io.WriteString(conn, request)
		waiting = append(waiting, conn)
	}
	waitFor(t, "netra to accept no more", func() bool { return netra.metric(t, "netra_accept_errors_total") > 0 })
	open := netra.metric(t, `netra_open_connections{direction="inbound"}`)
	if open >= clients || open < 8 {
		t.Errorf("%d connections are open", open)
	}
	if n := len(netra.descriptors(t)); n > files {
		t.Errorf("%d descriptors are open", n)
	}
	// Each that ends makes room for one that waits.
	for i, conn := range waiting {
		answer := make([]byte, 15)
		if _, err := io.ReadFull(conn, answer); string(answer) != "HTTP/1.1 200 OK" {
			t.Fatalf("connection %d was answered %q, %v", i, answer, err)
		}
		conn.Close()
	}
	if n := netra.metric(t, `netra_requests_total{direction="inbound",peer="",code="2xx"}`); n < clients {
		t.Errorf("%d requests were counted", n)
	}
	waitFor(t, "every descriptor to be closed", func() bool { return len(netra.descriptors(t)) <= before })
	if err := ask(clientIn(peer), "http://"+podV4+":8080/"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := netra.stop(); err != nil {
		t.Errorf("netra ended with %v", err)
	}
}
