package registry

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"

	"github.com/formicarium/formicarium/webhook/inject"
)

// hub is a real registry on loopback, over TLS, with what stands before it.
type hub struct {
	*testing.T
	server *httptest.Server
	host   string
	roots  *x509.CertPool
	// before, where set, answers in place of the registry if it returns true.
	before func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	requests []string // "METHOD /path"
}

func newHub(t *testing.T, tls bool) *hub {
	h := &hub{T: t}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.requests = append(h.requests, r.Method+" "+r.URL.Path)
		before := h.before
		h.mu.Unlock()
		if before != nil && before(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	h.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if tls {
		h.server.StartTLS()
		h.roots = x509.NewCertPool()
		h.roots.AddCert(h.server.Certificate())
	} else {
		h.server.Start()
	}
	t.Cleanup(h.server.Close)
	h.host = h.server.Listener.Addr().String()
	return h
}

// answer puts f before the registry.
func (h *hub) answer(f func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before = f
}

func (h *hub) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = nil
}

// asked returns how often a request with that beginning was made.
func (h *hub) asked(prefix string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, r := range h.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func image(t *testing.T, p Platform, entrypoint, cmd []string) v1.Image {
	t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = p.OS, p.Architecture
	file.Config.Entrypoint, file.Config.Cmd = entrypoint, cmd
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

func (h *hub) options() []remote.Option {
	return []remote.Option{remote.WithTransport(h.server.Client().Transport)}
}

// push puts the image there under the name and returns its reference.
func (h *hub) push(path string, img v1.Image) string {
	h.Helper()
	ref, err := name.ParseReference(h.host + "/" + path)
	if err != nil {
		h.Fatal(err)
	}
	if err := remote.Write(ref, img, h.options()...); err != nil {
		h.Fatal(err)
	}
	h.forget()
	return h.host + "/" + path
}

func (h *hub) pushIndex(path string, images map[Platform]v1.Image, order ...Platform) string {
	h.Helper()
	var index v1.ImageIndex = empty.Index
	for _, p := range order {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: images[p], Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: p.OS, Architecture: p.Architecture}}})
	}
	ref, err := name.ParseReference(h.host + "/" + path)
	if err != nil {
		h.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index, h.options()...); err != nil {
		h.Fatal(err)
	}
	h.forget()
	return h.host + "/" + path
}

// client returns a Client that may connect to loopback and has patience.
func (h *hub) client(change ...func(*Options)) *Client {
	o := Options{Timeout: 20 * time.Second, Roots: h.roots, Routable: func(netip.Addr) bool { return true }}
	if h.roots == nil {
		o.PlainHTTP = []string{h.host}
	}
	for _, f := range change {
		f(&o)
	}
	return New(o)
}

// ask asks for one image, as the webhook would.
func ask(t *testing.T, c *Client, ref string, p Platform, secrets ...*corev1.Secret) inject.ImageCommand {
	t.Helper()
	q := inject.ImageQuery{Images: []string{ref}, OS: p.OS, Architecture: p.Architecture}
	for i := range secrets {
		q.PullSecrets = append(q.PullSecrets, fmt.Sprint(i))
	}
	l := Lookup{Client: c, Log: slog.New(slog.DiscardHandler), Secret: func(_ context.Context, namespace, name string) (*corev1.Secret, error) {
		var i int
		if _, err := fmt.Sscan(name, &i); err != nil || namespace != "shop" {
			return nil, fmt.Errorf("secret %s/%s is asked for", namespace, name)
		}
		return secrets[i], nil
	}}
	answers := l.Commands(t.Context(), "shop", q)
	command, ok := answers[ref]
	if !ok || len(answers) != 1 {
		t.Fatalf("Commands = %v, want an answer for %s alone", answers, ref)
	}
	if command.Fault != "" && (command.Entrypoint != nil || command.Cmd != nil) || len(command.Fault) > 100 || len(command.Caveat) > 100 {
		t.Errorf("the answer is no answer: %+v", command)
	}
	return command
}

func expect(t *testing.T, got inject.ImageCommand, entrypoint, cmd []string) {
	t.Helper()
	if got.Fault != "" || got.Caveat != "" || !slices.Equal(got.Entrypoint, entrypoint) || !slices.Equal(got.Cmd, cmd) {
		t.Errorf("the command is %+v, want %q %q", got, entrypoint, cmd)
	}
}

func expectFault(t *testing.T, got inject.ImageCommand, want string) {
	t.Helper()
	if !strings.Contains(got.Fault, want) {
		t.Errorf("the fault is %q, want %q", got.Fault, want)
	}
}

var amd64, arm64, s390x = Platform{"linux", "amd64"}, Platform{"linux", "arm64"}, Platform{"linux", "s390x"}

func secret(kind corev1.SecretType, content string) *corev1.Secret {
	key := corev1.DockerConfigJsonKey
	if kind == corev1.SecretTypeDockercfg {
		key = corev1.DockerConfigKey
	}
	return &corev1.Secret{Type: kind, Data: map[string][]byte{key: []byte(content)}}
}
