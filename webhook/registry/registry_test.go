package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/formicarium/formicarium/webhook/inject"
)

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

// Look-ups wait for their turn, and only so many of them.
func TestTooManyFlights(t *testing.T) {
	h := newHub(t, true)
	ref := h.push("web:1", image(t, amd64, []string{"/web"}, nil))
	c := h.client()
	for range maxFlights {
		c.slots <- struct{}{}
	}
	c.waiting.Store(maxWaiting)
	expectFault(t, ask(t, c, ref, Platform{}), "too many images")
	c.waiting.Store(0)
	released := make(chan struct{})
	go func() {
		defer close(released)
		for c.waiting.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		<-c.slots
	}()
	expect(t, ask(t, c, ref, Platform{}), []string{"/web"}, nil)
	<-released
}
