package credential

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/stinger/gittest"
)

// TestTokenGoesToTheHubAlone has servers that would take it.
func TestTokenGoesToTheHubAlone(t *testing.T) {
	var seen atomic.Int64
	thief := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			seen.Add(1)
		}
	})
	plain, other := httptest.NewServer(thief), httptest.NewUnstartedServer(thief)
	defer plain.Close()
	fake, err := identity.NewAuthority("mine") // of the right name, but another
	if err != nil {
		t.Fatal(err)
	}
	c, err := fake.Issue(hub)
	if err != nil {
		t.Fatal(err)
	}
	other.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	other.TLS = &tls.Config{Certificates: []tls.Certificate{*c}}
	other.StartTLS()
	defer other.Close()
	_, otherPort, _ := net.SplitHostPort(other.Listener.Addr().String())

	s := start(t, true)
	s.hasCertificate()
	client := &http.Client{Transport: s.Transport()}
	for _, to := range []string{plain.URL, other.URL, "https://tanajura:" + otherPort, "http://" + strings.TrimPrefix(s.opts.Hub, "https://"), "https://example.org"} {
		_, err := client.Post(to, "application/json", strings.NewReader("{}"))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("POST %s: %v, want an error", to, err)
		}
	}
	// One that passes for the hub, at the hub's own address, and is not.
	impostor := New(Options{Dir: s.dir, Hub: "https://tanajura:" + otherPort, Dial: toLoopback})
	if err := impostor.renew(t.Context()); err == nil || !strings.Contains(err.Error(), "checking that it is the hub") || strings.Contains(err.Error(), secret) {
		t.Errorf("with another hub: %v", err)
	}
	// A pod of the devspace that passes for the hub.
	pod := httptest.NewUnstartedServer(thief)
	pod.Config.ErrorLog = other.Config.ErrorLog
	pod.TLS = &tls.Config{Certificates: []tls.Certificate{*s.hub.Issue(s.hub.Pod)}}
	pod.StartTLS()
	defer pod.Close()
	_, podPort, _ := net.SplitHostPort(pod.Listener.Addr().String())
	if err := New(Options{Dir: s.dir, Hub: "https://tanajura:" + podPort, Dial: toLoopback}).renew(t.Context()); err == nil {
		t.Error("a pod passed for the hub")
	}
	// The hub itself sends it on.
	for _, to := range []string{plain.URL, "https://tanajura:" + podPort + "/x", "/elsewhere"} {
		s.hub.Redirect(to)
		if err := s.renew(t.Context()); err == nil || !strings.Contains(err.Error(), "307") {
			t.Errorf("after a redirect to %s: %v", to, err)
		}
	}
	if seen.Load() > 0 {
		t.Errorf("the token was seen %d times by others", seen.Load())
	}
}

// What is in the files may be anything.
func TestBadFiles(t *testing.T) {
	hubOf := gittest.NewDevspace(t, "mine")
	for name, c := range map[string]struct{ token, authority, want string }{
		"no token":               {"\n", string(hubOf.Authority().Certificate()), "is none"},
		"a token of two lines":   {"secret-a\nHost: secret-b", string(hubOf.Authority().Certificate()), "is none"},
		"a large token":          {strings.Repeat("secret", maxFile), string(hubOf.Authority().Certificate()), "more than"},
		"no authority":           {"secret.a.b", "secret", "no certificate in PEM"},
		"half an authority":      {"secret.a.b", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "reading the devspace's authority"},
		"another devspace's hub": {"secret.a.b", otherAuthority(t), "checking that it is the hub"},
	} {
		dir := t.TempDir()
		for file, data := range map[string]string{api.IdentityToken: c.token, api.IdentityAuthority: c.authority} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		k := New(Options{Dir: dir, Hub: strings.TrimSuffix(hubOf.URL, "/svc.git"), Dial: toLoopback})
		if err := k.renew(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %.300v, want an error with %q", name, err, c.want)
		}
	}
	if err := New(Options{Dir: t.TempDir()}).renew(t.Context()); err == nil || !strings.Contains(err.Error(), "no devspace") {
		t.Errorf("without files: %v", err)
	}
}

func otherAuthority(t *testing.T) string {
	a, err := identity.NewAuthority("mine")
	if err != nil {
		t.Fatal(err)
	}
	return string(a.Certificate())
}

// A developer's token gets no certificate to serve with.
func TestOnlyAPodServes(t *testing.T) {
	s := start(t, false)
	s.hub.Pod = developer
	s.hub.WriteIdentity(s.dir)
	s.eventually("the refusal", func() bool { return strings.Contains(s.log.String(), "checking the certificate that the hub gave") })
	if s.present() != nil {
		t.Error("there is a certificate")
	}
}
