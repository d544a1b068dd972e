package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"testing"
	"time"
)

// TestOTLPInAPod runs netra in a pod that exports over HTTP, once to the
// collector and once through a proxy, which names of the cluster must be kept
// from by NO_PROXY.
func TestOTLPInAPod(t *testing.T) {
	const resource = "OTEL_RESOURCE_ATTRIBUTES=service.name=orders"
	for name, test := range map[string]struct {
		env  []string
		host string // that the request names
		via  string // the port that it comes to
	}{
		"no proxy": {[]string{"NO_PROXY=10.0.0.0/8", "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + peerV4 + ":4318"}, peerV4 + ":4318", ":4318"},
		"proxy":    {[]string{"NO_PROXY=.cluster.local", "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.example:4318"}, "collector.example:4318", ":3128"},
	} {
		t.Run(name, func(t *testing.T) {
			pod, peer := podAndPeer(t)
			type post struct{ port, host, path, body string }
			posts := make(chan post, 16)
			for _, port := range []string{":4318", ":3128"} {
				go http.Serve(peer.listen(port), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					posts <- post{port, r.Host, r.URL.Path, string(body)}
				}))
			}
			stop := startNetra(t, pod, append(test.env, resource, "POD_NAME=orders-1", "OTEL_BSP_SCHEDULE_DELAY=60000", "HTTP_PROXY=http://"+peerV4+":3128")...)
			capture(t, pod)
			heads := startServices(t, pod, peer)
			answer, err := clientIn(peer).Get("http://" + podV4 + ":8080/orders/17?call=" + peerV4)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			in, out := traceparentOf(t, <-heads), traceparentOf(t, <-heads)
			if err := stop(); err != nil { // which sends what there is
				t.Errorf("netra ended with %v", err)
			}
			select {
			case p := <-posts:
				if p.port != test.via || p.host != test.host || p.path != "/v1/traces" {
					t.Errorf("posted to %s of %s at port %s", p.path, p.host, p.port)
				}
				for _, want := range []string{in[1], in[2], out[2]} {
					if id, err := hex.DecodeString(want); err != nil || !bytes.Contains([]byte(p.body), id) {
						t.Errorf("id %s did not arrive (%v)", want, err)
					}
				}
				for _, want := range []string{"orders", "k8s.pod.name", "orders-1", "GET /orders/{id}", "GET /inventory/{id}"} {
					if !bytes.Contains([]byte(p.body), []byte(want)) {
						t.Errorf("%q did not arrive", want)
					}
				}
			case <-time.After(patience):
				t.Fatal("no span arrived")
			}
		})
	}
}
