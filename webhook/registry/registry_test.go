package registry

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
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
	"sync/atomic"
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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

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

func TestCommandAndItsCache(t *testing.T) {
	for _, tls := range []bool{true, false} {
		h := newHub(t, tls)
		ref := h.push("shop/web:1", image(t, amd64, []string{"/entry", "-x"}, []string{"serve"}))
		c := h.client()
		for range 3 {
			expect(t, ask(t, c, ref, Platform{}), []string{"/entry", "-x"}, []string{"serve"})
		}
		if n := h.asked("HEAD /v2/shop/web/manifests/1"); n != 1 {
			t.Errorf("the tag is asked for %d times, want once", n)
		}
		// When the tag's life is over only the HEAD is repeated.
		c.tags.RemoveAll(func(any) bool { return true })
		h.forget()
		expect(t, ask(t, c, ref, Platform{}), []string{"/entry", "-x"}, []string{"serve"})
		if h.asked("HEAD ") != 1 || h.asked("GET /v2/shop/") != 0 {
			t.Errorf("asking again asks %v", h.requests)
		}
		// And a tag that moved is followed.
		h.push("shop/web:1", image(t, amd64, nil, []string{"other"}))
		c.tags.RemoveAll(func(any) bool { return true })
		expect(t, ask(t, c, ref, Platform{}), nil, []string{"other"})
	}
}

func TestReferenceByDigest(t *testing.T) {
	h := newHub(t, true)
	img := image(t, amd64, []string{"/a"}, nil)
	h.push("web:1", img)
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	c := h.client()
	expect(t, ask(t, c, h.host+"/web@"+digest.String(), Platform{}), []string{"/a"}, nil)
	expect(t, ask(t, c, h.host+"/web:other@"+digest.String(), Platform{}), []string{"/a"}, nil)
	expectFault(t, ask(t, c, h.host+"/web@sha256:"+strings.Repeat("0", 64), Platform{}), "does not have it")
	expectFault(t, ask(t, c, "Not A Name", Platform{}), "not valid")
	expectFault(t, ask(t, c, strings.Repeat("a/", 2000)+"a", Platform{}), "not valid")
}

func TestPlatforms(t *testing.T) {
	h := newHub(t, true)
	a, b, z := image(t, amd64, []string{"/amd"}, nil), image(t, arm64, []string{"/arm"}, nil), image(t, s390x, []string{"/z"}, nil)
	all := map[Platform]v1.Image{amd64: a, arm64: b, s390x: z, {"unknown", "unknown"}: z, {"windows", "amd64"}: z}
	different := h.pushIndex("different", all, Platform{"unknown", "unknown"}, Platform{"windows", "amd64"}, s390x, arm64, amd64)
	c := h.client()
	got := ask(t, c, different, Platform{})
	if !slices.Equal(got.Entrypoint, []string{"/amd"}) || !strings.Contains(got.Caveat, "linux/arm64") {
		t.Errorf("without a selector: %+v", got)
	}
	expect(t, ask(t, c, different, Platform{Architecture: "arm64"}), []string{"/arm"}, nil)
	expect(t, ask(t, c, different, Platform{OS: "linux", Architecture: "amd64"}), []string{"/amd"}, nil)
	expect(t, ask(t, c, different, Platform{OS: "linux", Architecture: "s390x"}), []string{"/z"}, nil)
	expectFault(t, ask(t, c, different, Platform{Architecture: "riscv64"}), "no image for riscv64")

	all[arm64] = image(t, arm64, []string{"/amd"}, nil)
	expect(t, ask(t, c, h.pushIndex("same", all, arm64, amd64), Platform{}), []string{"/amd"}, nil)
	expect(t, ask(t, c, h.pushIndex("one", all, s390x), Platform{}), []string{"/z"}, nil)
}

func secret(kind corev1.SecretType, content string) *corev1.Secret {
	key := corev1.DockerConfigJsonKey
	if kind == corev1.SecretTypeDockercfg {
		key = corev1.DockerConfigKey
	}
	return &corev1.Secret{Type: kind, Data: map[string][]byte{key: []byte(content)}}
}

// A registry that knows one user for each repository.
func TestCredentialsByPath(t *testing.T) {
	h := newHub(t, true)
	one, two := h.push("team-one/web:1", image(t, amd64, []string{"/one"}, nil)), h.push("team-two/web:1", image(t, amd64, []string{"/two"}, nil))
	h.answer(func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		team := strings.Split(r.URL.Path, "/")[2]
		if r.URL.Path == "/v2/" && user == "" || team != "" && (user != team || password != "secret") {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			http.Error(w, "who are you", http.StatusUnauthorized)
			return true
		}
		return false
	})
	auth := func(path, user string) string {
		return fmt.Sprintf(`{"auths":{"https://%s/%s":{"username":%q,"password":"secret"}}}`, h.host, path, user)
	}
	c := h.client()
	expectFault(t, ask(t, c, one, Platform{}), "no pull secret for it")
	first, second := secret(corev1.SecretTypeDockerConfigJson, auth("team-one", "team-one")), secret(corev1.SecretTypeDockerConfigJson, auth("team-two", "team-two"))
	expect(t, ask(t, c, one, Platform{}, first, second), []string{"/one"}, nil)
	expect(t, ask(t, c, two, Platform{}, first, second), []string{"/two"}, nil)
	// What one pod was told from the registry another is not told from the cache.
	expectFault(t, ask(t, c, one, Platform{}, second), "no pull secret for it")
	expectFault(t, ask(t, c, one, Platform{}), "no pull secret for it")
	// Of several that match all are tried.
	wrong := secret(corev1.SecretTypeDockercfg, fmt.Sprintf(`{%q:{"auth":"dGVhbS1vbmU6d3Jvbmc="}}`, h.host+"/team-one/web"))
	expect(t, ask(t, c, one, Platform{}, wrong, first), []string{"/one"}, nil)
	expectFault(t, ask(t, c, one, Platform{}, wrong), "refuses the pod's pull secrets")
}

// A registry with a token server, as the public ones have.
func TestBearerToken(t *testing.T) {
	h := newHub(t, true)
	ref := h.push("web:1", image(t, amd64, []string{"/web"}, nil))
	h.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			user, password, _ := r.BasicAuth()
			if user != "u" || password != "p" || r.URL.Query().Get("scope") != "repository:web:pull" {
				http.Error(w, "no", http.StatusUnauthorized)
				return true
			}
			_, _ = io.WriteString(w, `{"token":"t"}`)
			return true
		}
		if r.Header.Get("Authorization") != "Bearer t" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/token",service="s"`, h.host))
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})
	login := func(password string) *corev1.Secret {
		return secret(corev1.SecretTypeDockerConfigJson, fmt.Sprintf(`{"auths":{%q:{"username":"u","password":%q}}}`, h.host, password))
	}
	expect(t, ask(t, h.client(), ref, Platform{}, login("p")), []string{"/web"}, nil)
	expectFault(t, ask(t, h.client(), ref, Platform{}, login("q")), "refuses the pod's pull secrets")
}

func TestSecretsThatCannotBeRead(t *testing.T) {
	h := newHub(t, true)
	public, private := h.push("public", image(t, amd64, []string{"/web"}, nil)), h.push("private", image(t, amd64, []string{"/web"}, nil))
	h.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v2/private/") {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})
	resource := schema.GroupResource{Resource: "secrets"}
	for want, err := range map[string]error{
		"may not read pull secret regcred (install --image-pull-secrets)": apierrors.NewForbidden(resource, "regcred", errors.New("no")),
		"there is no pull secret regcred":                                 apierrors.NewNotFound(resource, "regcred"),
		"pull secret regcred could not be read":                           errors.New("no"),
		"pull secret regcred cannot be used":                              nil,
	} {
		l := Lookup{Client: h.client(), Log: slog.New(slog.DiscardHandler), Secret: func(context.Context, string, string) (*corev1.Secret, error) {
			return &corev1.Secret{Type: corev1.SecretTypeOpaque}, err
		}}
		answers := l.Commands(t.Context(), "shop", inject.ImageQuery{Images: []string{public, private}, PullSecrets: []string{"regcred"}})
		expect(t, answers[public], []string{"/web"}, nil)
		expectFault(t, answers[private], want)
	}
}

func TestSlowRegistry(t *testing.T) {
	h := newHub(t, true)
	ref := h.push("web:1", image(t, amd64, []string{"/web"}, nil))
	release := make(chan struct{})
	h.answer(func(http.ResponseWriter, *http.Request) bool {
		<-release
		return false
	})
	c := h.client(func(o *Options) { o.Timeout = 50 * time.Millisecond })
	expectFault(t, ask(t, c, ref, Platform{}), "took more than 50ms")
	close(release)
	// The look-up that nobody waited for goes on, and the next has its answer.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got := ask(t, c, ref, Platform{})
		if got.Fault == "" {
			expect(t, got, []string{"/web"}, nil)
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no answer after 20 s: %+v", got)
		}
	}
	if n := h.asked("HEAD "); n != 1 {
		t.Errorf("the registry is asked %d times, want once", n)
	}
}

func TestSingleFlight(t *testing.T) {
	h := newHub(t, true)
	ref := h.push("web:1", image(t, amd64, []string{"/web"}, nil))
	var waiting atomic.Int32
	release := make(chan struct{})
	h.answer(func(http.ResponseWriter, *http.Request) bool {
		waiting.Add(1)
		<-release
		return false
	})
	c := h.client()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { expect(t, ask(t, c, ref, Platform{}), []string{"/web"}, nil) })
	}
	for end := time.Now().Add(20 * time.Second); waiting.Load() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	close(release)
	group.Wait()
	if n := h.asked("HEAD "); n != 1 {
		t.Errorf("20 at the same time ask %d times, want once", n)
	}
}

func TestTooManyFlights(t *testing.T) {
	h := newHub(t, true)
	ref := h.push("web:1", image(t, amd64, []string{"/web"}, nil))
	c := h.client()
	for range maxFlights {
		c.slots <- struct{}{}
	}
	expectFault(t, ask(t, c, ref, Platform{}), "too many images")
	<-c.slots
	expect(t, ask(t, c, ref, Platform{}), []string{"/web"}, nil) // that was not kept
}

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
