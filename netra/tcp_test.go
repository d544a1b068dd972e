package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"testing"
	"time"

	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// TestConnectionsInAPod runs netra in a network namespace beside an application
// that, for each request, calls a service by TLS and finds its store down.
func TestConnectionsInAPod(t *testing.T) {
	pod, peer := podAndPeer(t)
	collector := newCollector(t, peer)
	stop := startNetra(t, pod, "JAEGER_SERVICE_NAME=orders", "JAEGER_ENDPOINT=http://"+peerV4+":14268/api/traces", "POD_NAMESPACE=shop")
	capture(t, pod)
	go http.Serve(tls.NewListener(peer.listen(":9443"), certified(t)), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "paid")
	}))
	payments := clientIn(pod)
	payments.Transport.(*http.Transport).TLSClientConfig = &tls.Config{ServerName: "payments.shop.svc.cluster.local", InsecureSkipVerify: true}
	heads := make(chan string, 1)
	go http.Serve(pod.listen(":8080"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heads <- r.Header.Get("traceparent")
		if store, err := pod.dial(peerV4 + ":6379"); err == nil { // netra accepts, then resets
			io.Copy(io.Discard, store)
			store.Close()
		}
		answer, err := payments.Get("https://" + peerV4 + ":9443/pay")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		io.Copy(w, answer.Body)
	}))

	answer, err := clientIn(peer).Get("http://" + podV4 + ":8080/orders/17")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(answer.Body); string(body) != "paid" {
		t.Fatalf("answer %q, %v", body, err)
	}
	in := traceparentOf(t, <-heads)
	for name, want := range map[string]map[string]string{
		"TLS payments": {"peer.service": "payments", "tls.server_name": "payments.shop.svc.cluster.local", "net.protocol.name": "tls"},
		"TCP redis":    {"peer.address": peerV4 + ":6379", "error.reason": "destination refused"},
	} {
		span := collector.named(t, name)
		if parent := fmt.Sprintf("%016x", uint64(span.ParentSpanId)); parent != in[2] || tag(span, "netra.link") != "inferred" {
			t.Errorf("%s is below %s, want %s: %+v", name, parent, in[2], span)
		}
		for key, value := range want {
			if got := tag(span, key); got != value {
				t.Errorf("%s: %s = %q, want %q", name, key, got, value)
			}
		}
	}
	if err := stop(); err != nil {
		t.Errorf("netra ended with %v", err)
	}
}

// certified returns a server's configuration with a certificate that nobody
// checks.
func certified(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// named returns the span with this name once it has arrived.
func (c *collector) named(t *testing.T, name string) *thriftgen.Span {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		for _, s := range c.spans {
			if s.OperationName == name {
				c.mu.Unlock()
				return s
			}
		}
		c.mu.Unlock()
	}
	t.Fatalf("no span %q arrived", name)
	return nil
}
