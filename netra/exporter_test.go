package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/netra/trace"
)

// readWith reads the variables of a service that has a name.
func readWith(vars map[string]string) (settings, error) {
	all := map[string]string{"JAEGER_SERVICE_NAME": "orders"}
	maps.Copy(all, vars)
	return read(all)
}

func TestExporter(t *testing.T) {
	type vars = map[string]string
	for _, test := range []struct {
		vars vars
		want string
	}{
		{nil, "jaeger"},
		{vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "otlp"},
		{vars{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/t", "JAEGER_ENDPOINT": "http://j:14268/api/traces"}, "otlp"},
		{vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "jaeger"}, "jaeger"},
		{vars{"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"},
		{vars{"OTEL_TRACES_EXPORTER": "none"}, "none"},
		{vars{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "True"}, "none"},
		{vars{"OTEL_SDK_DISABLED": "false"}, "jaeger"},
		// What the other exporter would be told is not looked at.
		{vars{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "jaeger"},
		{vars{"OTEL_TRACES_EXPORTER": "otlp", "JAEGER_TAGS": "a"}, "otlp"},
	} {
		if s, err := readWith(test.vars); err != nil || s.exporter != test.want {
			t.Errorf("%v: exporter %q, %v, want %q", test.vars, s.exporter, err, test.want)
		}
	}
}

func TestOTLPDefaults(t *testing.T) {
	s, err := readWith(map[string]string{"OTEL_TRACES_EXPORTER": "otlp"})
	if err != nil {
		t.Fatal(err)
	}
	want := trace.OTLPSettings{
		Endpoint: "http://localhost:4318/v1/traces", SampleRatio: 1, QueueSize: 2048, BatchSize: 512,
		Delay: 5 * time.Second, Timeout: 10 * time.Second, ExportTimeout: 30 * time.Second,
	}
	if !reflect.DeepEqual(s.otlp, want) {
		t.Errorf("settings\n%+v\nwant\n%+v", s.otlp, want)
	}
}

func TestOTLPVariables(t *testing.T) {
	type vars = map[string]string
	const otlp = "OTEL_EXPORTER_OTLP_"
	for _, test := range []struct {
		vars vars
		get  func(trace.OTLPSettings) any
		want any
	}{
		{vars{otlp + "ENDPOINT": "https://c:4318"}, func(s trace.OTLPSettings) any { return s.Endpoint }, "https://c:4318/v1/traces"},
		{vars{otlp + "ENDPOINT": "http://c/otlp/?k=v"}, func(s trace.OTLPSettings) any { return s.Endpoint }, "http://c/otlp/v1/traces?k=v"},
		{vars{otlp + "ENDPOINT": "http://[fd00::1]:4318"}, func(s trace.OTLPSettings) any { return s.Endpoint }, "http://[fd00::1]:4318/v1/traces"},
		{vars{otlp + "ENDPOINT": "http://a", otlp + "TRACES_ENDPOINT": "http://b/as-is"}, func(s trace.OTLPSettings) any { return s.Endpoint }, "http://b/as-is"},
		{vars{otlp + "HEADERS": "api-key=k%3D1, x-tenant = shop ,"}, func(s trace.OTLPSettings) any { return s.Headers }, http.Header{"Api-Key": {"k=1"}, "X-Tenant": {"shop"}}},
		{vars{otlp + "HEADERS": "a=1", otlp + "TRACES_HEADERS": "authorization=Bearer%20t+t"}, func(s trace.OTLPSettings) any { return s.Headers }, http.Header{"Authorization": {"Bearer t+t"}}},
		{vars{otlp + "TIMEOUT": "1500"}, func(s trace.OTLPSettings) any { return s.Timeout }, 1500 * time.Millisecond},
		{vars{otlp + "TIMEOUT": "1500", otlp + "TRACES_TIMEOUT": "1"}, func(s trace.OTLPSettings) any { return s.Timeout }, time.Millisecond},
		{vars{otlp + "COMPRESSION": "gzip"}, func(s trace.OTLPSettings) any { return s.Gzip }, true},
		{vars{otlp + "COMPRESSION": "gzip", otlp + "TRACES_COMPRESSION": "none"}, func(s trace.OTLPSettings) any { return s.Gzip }, false},
		{vars{otlp + "PROTOCOL": "grpc", otlp + "TRACES_PROTOCOL": "http/protobuf"}, func(s trace.OTLPSettings) any { return s.TLS == nil }, true},
		{vars{"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "0"}, func(s trace.OTLPSettings) any { return s.SampleRatio }, 1.0},
		{vars{"OTEL_TRACES_SAMPLER": "always_off"}, func(s trace.OTLPSettings) any { return s.SampleRatio }, 0.0},
		{vars{"OTEL_TRACES_SAMPLER": "traceidratio"}, func(s trace.OTLPSettings) any { return s.SampleRatio }, 1.0},
		{vars{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, func(s trace.OTLPSettings) any { return s.SampleRatio }, 0.25},
		{vars{"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, func(s trace.OTLPSettings) any { return s.SampleRatio }, 1.0},
		{vars{"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, func(s trace.OTLPSettings) any { return s.SampleRatio }, 0.0},
		{vars{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1e-2"}, func(s trace.OTLPSettings) any { return s.SampleRatio }, 0.01},
		{vars{"OTEL_BSP_SCHEDULE_DELAY": "250"}, func(s trace.OTLPSettings) any { return s.Delay }, 250 * time.Millisecond},
		{vars{"OTEL_BSP_EXPORT_TIMEOUT": "60000"}, func(s trace.OTLPSettings) any { return s.ExportTimeout }, time.Minute},
		{vars{"OTEL_BSP_MAX_QUEUE_SIZE": "4096"}, func(s trace.OTLPSettings) any { return s.QueueSize }, 4096},
		{vars{"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, func(s trace.OTLPSettings) any { return s.BatchSize }, 100},
		{vars{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1024"}, func(s trace.OTLPSettings) any { return s.BatchSize }, 1024},
	} {
		test.vars["OTEL_TRACES_EXPORTER"] = "otlp"
		s, err := readWith(test.vars)
		if got := test.get(s.otlp); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v: %v, %v, want %v", test.vars, got, err, test.want)
		}
	}
}

// Each fault names the variable, and no secret.
func TestOTLPFaults(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, value, want string }{
		{"OTEL_TRACES_EXPORTER", "zipkin", "otlp, jaeger, none"},
		{"OTEL_TRACES_EXPORTER", "otlp,jaeger", "otlp, jaeger, none"},
		{"OTEL_SDK_DISABLED", "=ture", "true or false"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://:4318", "http://"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://user:secret-token@c", "http://"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret-token@c\x7f", "http://"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "secret-token", "key=value"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "key=secret-token%zz", "percent-encoded"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "=secret-token", "key=value"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a key=secret-token", "names"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret-token%0d%0aX: y", "that of x-key"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "host=secret-token", "netra's own"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "whole number"},
		{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "from 1"},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip, none"},
		{"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "GZIP", "gzip, none"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf, the only protocol that netra speaks; collectors take it at port 4318"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", "no such file"},
		{"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", empty, "holds none"},
		{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", empty, "OTEL_EXPORTER_OTLP_CLIENT_KEY"},
		{"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", empty, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"},
		{"OTEL_TRACES_SAMPLER", "jaeger_remote", "parentbased_traceidratio"},
		{"OTEL_TRACES_SAMPLER_ARG", "25%", "from 0 to 1"},
		{"OTEL_TRACES_SAMPLER_ARG", "1.5", "from 0 to 1"},
		{"OTEL_BSP_SCHEDULE_DELAY", "-1", "from 1"},
		{"OTEL_BSP_EXPORT_TIMEOUT", "soon", "whole number"},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "0", "from 1"},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2049", "at most OTEL_BSP_MAX_QUEUE_SIZE, which is 2048"},
		{"OTEL_RESOURCE_ATTRIBUTES", "zone", "key=value"},
		{"OTEL_RESOURCE_ATTRIBUTES", "zone=%", "percent-encoded"},
	} {
		vars := map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}
		if test.name == "OTEL_TRACES_SAMPLER_ARG" {
			vars["OTEL_TRACES_SAMPLER"] = "traceidratio"
		}
		vars[test.name] = test.value
		_, err := readWith(vars)
		if err == nil || !strings.Contains(err.Error(), test.name) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s=%q: error %v, want one that says %q", test.name, test.value, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret-token") {
			t.Errorf("%s: the error shows a secret: %v", test.name, err)
		}
	}
}

func TestOTLPFaultsComeTogether(t *testing.T) {
	faulty := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "c", "OTEL_EXPORTER_OTLP_HEADERS": "h", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_SAMPLER": "some",
		"OTEL_BSP_MAX_QUEUE_SIZE": "many", "OTEL_RESOURCE_ATTRIBUTES": "a", "NETRA_PORT": "0",
	}
	_, err := readWith(faulty)
	if err == nil {
		t.Fatal("no error")
	}
	for name := range faulty {
		if !strings.Contains(err.Error(), name+"=") {
			t.Errorf("%s is not named in:\n%v", name, err)
		}
	}
}

func TestOTLPCertificates(t *testing.T) {
	certificate, key := writeCertificate(t)
	s, err := readWith(map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:4318", "OTEL_EXPORTER_OTLP_CERTIFICATE": certificate,
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": certificate, "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": key,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.otlp.TLS == nil || s.otlp.TLS.RootCAs == nil || len(s.otlp.TLS.Certificates) != 1 {
		t.Errorf("TLS %+v", s.otlp.TLS)
	}
	_, err = readWith(map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:4318", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": key, "OTEL_EXPORTER_OTLP_CLIENT_KEY": key,
	})
	if err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=") {
		t.Errorf("a key as a certificate: %v", err)
	}
}

// writeCertificate writes a certificate and its key.
func writeCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("tls.crt", "CERTIFICATE", public), write("tls.key", "PRIVATE KEY", encoded)
}

func TestResource(t *testing.T) {
	vars := map[string]string{
		"OTEL_RESOURCE_ATTRIBUTES": "service.name=by-attribute, k8s.pod.name=other ,deployment.environment.name=test%2C%20a, k8s.pod.name=last",
		"POD_NAMESPACE":            "shop", "POD_NAME": "orders-1",
	}
	s, err := read(vars)
	if err != nil {
		t.Fatal(err)
	}
	want := []trace.Tag{{Key: "k8s.namespace.name", Value: "shop"}, {Key: "k8s.pod.name", Value: "last"}, {Key: "deployment.environment.name", Value: "test, a"}}
	if s.serviceName != "by-attribute" || !reflect.DeepEqual(s.process, want) {
		t.Errorf("service %q, resource %v, want %v", s.serviceName, s.process, want)
	}
	vars["OTEL_SERVICE_NAME"] = "by-variable"
	if s, err := read(vars); err != nil || s.serviceName != "by-variable" {
		t.Errorf("with OTEL_SERVICE_NAME: %q, %v", s.serviceName, err)
	}
}
