package main

import (
	"encoding/base64"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/webhook/inject"
)

func lookupFrom(vars map[string]string) (imageLookup, error) {
	r := env.NewReader(func(name string) string { return vars[name] })
	l := imageLookupFrom(r)
	return l, r.Err()
}

func TestImageLookupSettings(t *testing.T) {
	l, err := lookupFrom(nil)
	if err != nil || !l.on || l.timeout != 2*time.Second || len(l.plainHTTP) > 0 {
		t.Errorf("defaults = %+v, %v", l, err)
	}
	_, err = lookupFrom(map[string]string{
		"WEBHOOK_IMAGE_LOOKUP": "on", "WEBHOOK_IMAGE_TIMEOUT": "9s", "WEBHOOK_PLAIN_HTTP_REGISTRIES": "registry:5000,http://other",
	})
	for _, want := range []string{`WEBHOOK_IMAGE_LOOKUP="on"`, `WEBHOOK_IMAGE_TIMEOUT="9s": want 100ms to 8s`, `WEBHOOK_PLAIN_HTTP_REGISTRIES="http://other"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %s:\n%v", want, err)
		}
	}
	if images, err := (imageLookup{}).open(fake.NewClientset(), slog.New(slog.DiscardHandler)); images != nil || err != nil {
		t.Errorf("off, it opens %v, %v", images, err)
	}
	for _, content := range []string{"", "no certificate"} {
		file := filepath.Join(t.TempDir(), "ca.pem")
		if content != "" {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l.authorities = file
		if _, err := l.open(fake.NewClientset(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "WEBHOOK_REGISTRY_CA") {
			t.Errorf("authorities %q: %v", content, err)
		}
	}
}

// As the webhook is installed it reaches nothing on its own machine, and asks
// for the Secrets of the pod's own namespace alone.
func TestInstalledLookup(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		registry.New(registry.Logger(log.New(io.Discard, "", 0))).ServeHTTP(w, r)
	}))
	defer server.Close()
	host := server.Listener.Addr().String()
	l, err := lookupFrom(map[string]string{"WEBHOOK_PLAIN_HTTP_REGISTRIES": host})
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "regcred"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"` + host + `":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("u:p")) + `"}}}`)},
	})
	images, err := l.open(client, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	image := host + "/web:1"
	got := images.Commands(t.Context(), "shop", inject.ImageQuery{Images: []string{image}, PullSecrets: []string{"regcred"}})
	if !strings.Contains(got[image].Fault, "address is not allowed") || asked > 0 {
		t.Errorf("Commands = %+v, and the registry was asked %d times", got, asked)
	}
	for _, action := range client.Actions() {
		if action.GetVerb() != "get" || action.GetResource().Resource != "secrets" || action.GetNamespace() != "shop" {
			t.Errorf("the API server is asked %v", action)
		}
	}
	if len(client.Actions()) != 1 {
		t.Errorf("the API server is asked %d times", len(client.Actions()))
	}
}
