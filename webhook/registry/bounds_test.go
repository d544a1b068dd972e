package registry

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestHostileAnswers(t *testing.T) {
	big := bytes.Repeat([]byte(" "), maxBody+1)
	for name, c := range map[string]struct {
		answer func(h *hub, w http.ResponseWriter, r *http.Request)
		want   string
	}{
		"huge manifest": {func(_ *hub, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(big) }, "too large"},
		"endless manifest": {func(_ *hub, w http.ResponseWriter, r *http.Request) {
			// What is written in answer to a HEAD goes nowhere, for ever.
			for w.(http.Flusher).Flush(); r.Method == http.MethodGet && r.Context().Err() == nil; {
				if _, err := w.Write(big); err != nil {
					return
				}
			}
		}, "too large"},
		"not JSON": {func(_ *hub, w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, "not an image"},
		"other content": {func(_ *hub, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("1", 64))
			_, _ = io.WriteString(w, "{}")
		}, "cannot be read"},
		"digest of another world": {func(_ *hub, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", "../../../secrets")
		}, "cannot be read"},
		"redirect to plain HTTP": {func(_ *hub, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://registry.invalid/x", http.StatusTemporaryRedirect)
		}, "plain HTTP"},
		"redirect to a file": {func(_ *hub, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusTemporaryRedirect)
		}, "plain HTTP"},
		"redirects for ever": {func(_ *hub, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"x", http.StatusTemporaryRedirect)
		}, "cannot be reached"},
		"secret in an error": {func(_ *hub, w http.ResponseWriter, r *http.Request) {
			http.Error(w, `{"errors":[{"code":"X","message":"the password is 1234"}]}`, http.StatusInternalServerError)
		}, "answers with an error"},
		"busy": {func(_ *hub, w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, "asked too often"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, true)
			h.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v2/" {
					c.answer(h, w, r)
				}
				return r.URL.Path != "/v2/"
			})
			expectFault(t, ask(t, h.client(), h.host+"/web", Platform{}), c.want)
		})
	}
}

// A registry that names another's digest gets what the other has into no pod.
func TestDigestOfAnotherRegistry(t *testing.T) {
	good, evil := newHub(t, true), newHub(t, true)
	img := image(t, amd64, []string{"/secret"}, nil)
	ref := good.push("web:1", img)
	digest, _ := img.Digest()
	c := good.client(func(o *Options) { o.Roots.AddCert(evil.server.Certificate()) })
	expect(t, ask(t, c, ref, Platform{}), []string{"/secret"}, nil)
	evil.answer(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Docker-Content-Digest", digest.String())
		return r.Method == http.MethodHead
	})
	expectFault(t, ask(t, c, evil.host+"/web:1", Platform{}), "does not have it")
}

func TestWhatMayBeConnectedTo(t *testing.T) {
	h := newHub(t, true)
	ref := h.push("web:1", image(t, amd64, []string{"/web"}, nil))
	c := h.client(func(o *Options) { o.Routable = nil })
	expectFault(t, ask(t, c, ref, Platform{}), "address is not allowed")
	_, port, _ := strings.Cut(h.host, ":")
	expectFault(t, ask(t, c, "localhost:"+port+"/web:1", Platform{}), "address is not allowed")
	if len(h.requests) > 0 {
		t.Errorf("it was connected to: %v", h.requests)
	}
	// Nor by way of a token server.
	h.answer(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://169.254.169.254/latest"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	if got := ask(t, h.client(), ref, Platform{}); got.Fault == "" {
		t.Errorf("the command is %+v", got)
	}
}

func TestRoutable(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.1": true, "192.168.1.1": true, "172.20.0.1": true, "fd12::1": true, "100.64.0.1": true, "8.8.8.8": true, "2606:4700::1": true, "64:ff9b::808:808": true,
		"127.0.0.1": false, "127.9.9.9": false, "::1": false, "::": false, "0.0.0.0": false, "0.1.2.3": false, "169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false,
		"224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "168.63.129.16": false, "100.100.100.200": false, "192.0.0.192": false, "fd00:ec2::254": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "::127.0.0.1": false,
	} {
		if got := Routable(netip.MustParseAddr(text)); got != want {
			t.Errorf("Routable(%s) = %v", text, got)
		}
	}
	if Routable(netip.Addr{}) {
		t.Error("no address is routable")
	}
}

func TestTrust(t *testing.T) {
	tls, plain := newHub(t, true), newHub(t, false)
	expectFault(t, ask(t, tls.client(func(o *Options) { o.Roots = x509.NewCertPool() }), tls.host+"/web", Platform{}), "not trusted")
	expectFault(t, ask(t, plain.client(func(o *Options) { o.PlainHTTP = nil }), plain.host+"/web", Platform{}), "plain HTTP")
	tls.server.Close()
	expectFault(t, ask(t, tls.client(), tls.host+"/web", Platform{}), "cannot be reached")
}

func TestRoots(t *testing.T) {
	h := newHub(t, true)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.server.Certificate().Raw})
	pool, err := Roots(bundle)
	if err != nil {
		t.Fatal(err)
	}
	ref := h.push("web", image(t, amd64, []string{"/web"}, nil))
	expect(t, ask(t, h.client(func(o *Options) { o.Roots = pool }), ref, Platform{}), []string{"/web"}, nil)
	if _, err := Roots([]byte("nothing")); err == nil {
		t.Error("a bundle without a certificate is accepted")
	}
}
