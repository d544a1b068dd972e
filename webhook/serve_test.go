package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/formicarium/formicarium/internal/api"
)

func minimal(name string) string {
	return map[string]string{
		"NETRA_IMAGE": "r/netra:1", "NETRA_INIT_IMAGE": "r/netra-init:1", "STINGER_IMAGE": "r/stinger:1", "NETRA_INIT_IPTABLES_IMAGE": "r/netra-init-iptables:1",
	}[name]
}

func TestConfigDefaults(t *testing.T) {
	c, err := configFrom(minimal)
	if err != nil {
		t.Fatal(err)
	}
	if c.port != 8443 || c.certDir != "" || c.certLife != 90*24*time.Hour || c.native != "auto" || c.inject.PullPolicy != corev1.PullIfNotPresent || c.inject.HubURL != "https://tanajura:24090" {
		t.Errorf("config = %+v", c)
	}
	if cpu := c.inject.NetraResources.Requests.Cpu().String(); cpu != "10m" {
		t.Errorf("netra's CPU request = %s", cpu)
	}
}

func TestConfigNamesEveryFault(t *testing.T) {
	vars := map[string]string{
		"WEBHOOK_PORT": "0", "WEBHOOK_STOP_DELAY": "5", "NETRA_IMAGE": "", "STINGER_IMAGE": "two words", "NETRA_REDIRECT_BACKEND": "iptable", "IMAGE_PULL_POLICY": "Sometimes",
		"JAEGER_ENDPOINT": "jaeger:14268", "NATIVE_SIDECAR": "yes", "NETRA_CPU_REQUEST": "ten", "NETRA_MEMORY_LIMIT": "-1", "INIT_MEMORY_REQUEST": "65Mi",
		"WEBHOOK_CERTIFICATE_LIFE": "30s",
	}
	_, err := configFrom(func(name string) string { return vars[name] })
	if err == nil {
		t.Fatal("fourteen faults are accepted")
	}
	for _, want := range []string{
		`WEBHOOK_PORT="0"`, `WEBHOOK_STOP_DELAY="5"`, `NETRA_IMAGE=""`, `NETRA_INIT_IMAGE=""`, `STINGER_IMAGE="two words"`, `NETRA_INIT_IPTABLES_IMAGE=""`, `NETRA_REDIRECT_BACKEND="iptable": want one of auto, nftables, iptables`, `IMAGE_PULL_POLICY="Sometimes"`,
		`JAEGER_ENDPOINT="jaeger:14268"`, `NATIVE_SIDECAR="yes"`, `NETRA_CPU_REQUEST="ten"`, `NETRA_MEMORY_LIMIT="-1"`, `INIT_MEMORY_REQUEST="65Mi": want no more than INIT_MEMORY_LIMIT, 64Mi`,
		`WEBHOOK_CERTIFICATE_LIFE="30s": want a duration from 1m0s to 87600h0m0s`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %s:\n%v", want, err)
		}
	}
}

func TestResourcesOfNone(t *testing.T) {
	c, err := configFrom(func(name string) string {
		if strings.HasSuffix(name, "_LIMIT") {
			return "none"
		}
		return minimal(name)
	})
	if err != nil || len(c.inject.NetraResources.Limits) > 0 || len(c.inject.NetraResources.Requests) != 2 {
		t.Errorf("resources = %+v, %v", c.inject.NetraResources, err)
	}
}

func TestHasNativeSidecars(t *testing.T) {
	for text, want := range map[string]bool{"1.36": true, "1.29": true, "1.29+": true, "1.28": false, "1.9": false, "2.0": true} {
		major, minor, _ := strings.Cut(text, ".")
		if got, err := hasNativeSidecars(&version.Info{Major: major, Minor: minor}); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if _, err := hasNativeSidecars(&version.Info{}); err == nil {
		t.Error("an empty version is accepted")
	}
}

func TestArgumentsAreRefused(t *testing.T) {
	if err := serve(context.Background(), []string{"--port=1"}, minimal, io.Discard, io.Discard); err == nil {
		t.Error("an argument is accepted")
	}
}

// writeCertificate writes a self-signed certificate for 127.0.0.1 into dir and
// returns a pool that trusts it.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, content := range map[string][]byte{"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), "tls.crt": certificate} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	return pool
}

// start starts the whole server and returns its URL, a client that trusts it,
// and a channel with its end.
func start(t *testing.T, ctx context.Context, stopDelay time.Duration) (base string, web *http.Client, listener net.Listener, ended chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := configFrom(minimal)
	if err != nil {
		t.Fatal(err)
	}
	c.certDir, c.stopDelay, c.inject.NativeSidecar = t.TempDir(), stopDelay, true
	pool := writeCertificate(t, c.certDir)
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"formicarium.io/inject": "enabled"}}})
	ended = make(chan error, 1)
	go func() {
		ended <- serveOn(ctx, listener, c, clients{kube: client, events: client}, slog.New(slog.DiscardHandler))
	}()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return "https://" + listener.Addr().String(), &http.Client{Transport: transport}, listener, ended
}

func ready(t *testing.T, web *http.Client, base string) int {
	t.Helper()
	response, err := web.Get(base + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Errorf("the protocol is %s, want HTTP/2", response.Proto)
	}
	return response.StatusCode
}

func awaitReady(t *testing.T, web *http.Client, base string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ready(t, web, base) != http.StatusOK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not ready after 20 s")
		}
	}
}

func review(t *testing.T, web *http.Client, base string) string {
	t.Helper()
	const body = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":"CREATE","namespace":"shop","kind":{"version":"v1","kind":"Pod"},"object":{"metadata":{"name":"web"},"spec":{"containers":[{"name":"web"}]}}}}`
	response, err := web.Post(base+"/mutate", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestServeEndsInOrder(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	base, web, _, ended := start(t, ctx, 0)
	awaitReady(t, web, base)
	if text := review(t, web, base); !strings.Contains(text, `"uid":"u1","allowed":true`) || !strings.Contains(text, `"patch"`) {
		t.Errorf("answer = %s", text)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("serveOn = %v", err)
	}
}

// Until the API server has heard that this replica is gone, it is asked.
func TestServeAnswersWhileStopping(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	base, web, listener, ended := start(t, ctx, time.Hour)
	awaitReady(t, web, base)
	cancel()
	if code := ready(t, web, base); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz while stopping = %d", code)
	}
	if text := review(t, web, base); !strings.Contains(text, `"allowed":true`) {
		t.Errorf("answer while stopping = %s", text)
	}
	// The API server speaks HTTP/1.1 to webhooks and keeps connections.
	old := web.Transport.(*http.Transport).Clone()
	old.ForceAttemptHTTP2, old.TLSClientConfig.NextProtos = false, []string{"http/1.1"}
	defer old.CloseIdleConnections()
	response, err := (&http.Client{Transport: old}).Get(base + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.ProtoMajor != 1 || !response.Close {
		t.Errorf("while stopping an answer (%s) leaves its connection open", response.Proto)
	}
	listener.Close()
	<-ended
}

// Without a directory of certificates it makes one, and is ready with it.
func TestServeWithACertificateOfItsOwn(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := configFrom(minimal)
	if err != nil {
		t.Fatal(err)
	}
	c.stopDelay = 0
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"formicarium.io/inject": "enabled"}}})
	ended := make(chan error, 1)
	go func() {
		ended <- serveOn(ctx, listener, c, clients{kube: client, events: client}, slog.New(slog.DiscardHandler))
	}()
	var authority []byte
	for deadline := time.Now().Add(20 * time.Second); len(authority) == 0; time.Sleep(10 * time.Millisecond) {
		if secret, err := client.CoreV1().Secrets(api.SystemNamespace).Get(ctx, api.WebhookCertificateName, metav1.GetOptions{}); err == nil {
			authority = secret.Data["ca.crt"]
		}
		if time.Now().After(deadline) {
			t.Fatal("there is no certificate after 20 s")
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: api.WebhookNames()[0]}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	web, base := &http.Client{Transport: transport}, "https://"+listener.Addr().String()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		response, err := web.Get(base + "/readyz")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready after 20 s: %v", err)
		}
	}
	if text := review(t, web, base); !strings.Contains(text, `"patch"`) {
		t.Errorf("answer = %s", text)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("serveOn = %v", err)
	}
}
