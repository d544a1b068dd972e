package devspace

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// gitter runs the real git over a relay to a real hub.
type gitter struct {
	*testing.T
	hub   *hubtest.Hub
	keep  *keeper
	relay *GitRelay
	home  string
	env   []string
}

func newGitter(t *testing.T) *gitter {
	t.Helper()
	g := &gitter{T: t, hub: hubtest.New(t), home: t.TempDir()}
	g.hub.CreateRepository("orders")
	address, err := url.Parse(g.hub.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(address) }, FlushInterval: -1}
	client, k := lockedClient(t, pods{"tanajura-1/3002": proxy.ServeHTTP}, hubPod())
	g.keep = k
	if g.relay, err = client.RelayGit("mine"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.relay.Close() })
	// A proxy that nobody listens at, and settings of the caller's own.
	g.env, err = g.relay.Env([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + g.home, "http_proxy=http://127.0.0.1:1", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=user.name", "GIT_CONFIG_VALUE_0=ann", "GIT_CONFIG_KEY_1=user.email", "GIT_CONFIG_VALUE_1=ann@example.com",
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *gitter) git(dir string, args ...string) (string, error) {
	g.Helper()
	cmd := exec.CommandContext(g.Context(), "git", args...)
	cmd.Dir, cmd.Env = dir, g.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (g *gitter) must(dir string, args ...string) string {
	g.Helper()
	out, err := g.git(dir, args...)
	if err != nil {
		g.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func TestGitThroughTheRelay(t *testing.T) {
	g := newGitter(t)
	work := filepath.Join(t.TempDir(), "work")
	g.must(".", "init", "-q", "-b", "main", work)
	large := bytes.Repeat([]byte("0123456789abcdef\n"), 200_000) // more than git sends in one piece
	if err := os.WriteFile(filepath.Join(work, "a"), large, 0o600); err != nil {
		t.Fatal(err)
	}
	g.must(work, "add", "a")
	g.must(work, "commit", "-qm", "a")
	g.must(work, "remote", "add", "origin", "fmc:orders")
	out := g.must(work, "-c", "core.compression=0", "-c", "http.postBuffer=65536", "push", "origin", "main")
	head := strings.TrimSpace(g.must(work, "rev-parse", "main"))
	if g.hub.Head("orders") != head || !strings.Contains(out, "remote: ") {
		t.Errorf("the hub has %s, want %s; git said\n%s", g.hub.Head("orders"), head, out)
	}
	clones := t.TempDir()
	g.must(clones, "clone", "-q", "fmc:orders")
	g.must(clones, "clone", "-q", "--depth=1", "--no-local", "fmc:orders.git", "shallow")
	for _, clone := range []string{"orders", "shallow"} {
		got, err := os.ReadFile(filepath.Join(clones, clone, "a"))
		if err != nil || !bytes.Equal(got, large) {
			t.Errorf("clone %s has %d bytes, %v", clone, len(got), err)
		}
	}
	config, err := os.ReadFile(filepath.Join(clones, "orders", ".git", "config"))
	if err != nil || !strings.Contains(string(config), "url = fmc:orders\n") {
		t.Errorf("the clone's configuration is %s, %v", config, err)
	}
	g.noSecretIn(clones)
	g.noSecretIn(g.home)
	if strings.Contains(strings.Join(g.env, "\n"), g.keep.token()) {
		t.Error("the token is in git's environment")
	}
}

// noSecretIn looks through all files.
func (g *gitter) noSecretIn(root string) {
	g.Helper()
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(g.relay.secret)) || bytes.Contains(text, []byte(g.keep.token())) {
			g.Errorf("%s holds a secret", path)
		}
		return err
	})
	if err != nil {
		g.Fatal(err)
	}
}

func TestGitIsToldWhatTheHubSays(t *testing.T) {
	g := newGitter(t)
	out, err := g.git(".", "ls-remote", "fmc:nothing")
	if err == nil || !strings.Contains(out, "remote: ") || !strings.Contains(out, "nothing") {
		t.Errorf("a repository that is not there: %v\n%s", err, out)
	}
	g.must(".", "ls-remote", "fmc:orders")
	g.keep.tokens.Add(1) // the hub takes the token no more
	out, err = g.git(".", "ls-remote", "fmc:orders")
	if err == nil || !strings.Contains(out, "remote: no token, or one that is not good") || strings.Contains(out, "Username") {
		t.Errorf("with a token that is refused: %v\n%s", err, out)
	}
	if out, err := g.git(".", "ls-remote", "fmc:a/b"); err == nil || !strings.Contains(out, "remote: this is no repository of a devspace") {
		t.Errorf("a name with a slash: %v\n%s", err, out)
	}
}

// Who does not know the secret gets nothing, and who does gets git's part alone.
func TestGitRelayIsForOneRun(t *testing.T) {
	g := newGitter(t)
	base := "http://" + g.relay.listener.Addr().String()
	for _, c := range []struct {
		path, secret string
		want         int
	}{
		{"/orders.git/info/refs?service=git-upload-pack", g.relay.secret, http.StatusOK},
		{"/orders/info/refs?service=git-upload-pack", g.relay.secret, http.StatusOK},
		{"/orders.git/info/refs?service=git-upload-pack", "", http.StatusForbidden},
		{"/orders.git/info/refs?service=git-upload-pack", g.relay.secret + "x", http.StatusForbidden},
		{"/api/repositories", g.relay.secret, http.StatusNotFound},
		{"/api/certificates", g.relay.secret, http.StatusNotFound},
		{"/orders.git/../api/repositories", g.relay.secret, http.StatusNotFound},
		{"/x/..%2fapi/info/refs", g.relay.secret, http.StatusNotFound},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.secret != "" {
			r.Header.Set(headerGitSecret, c.secret)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != c.want || strings.Contains(string(body), g.relay.secret) {
			t.Errorf("GET %s with %d bytes of secret = %d %s, %v; want %d", c.path, len(c.secret), response.StatusCode, body, err, c.want)
		}
	}
	g.relay.Close()
	if out, err := g.git(".", "ls-remote", "fmc:orders"); err == nil {
		t.Errorf("after its end the relay serves: %s", out)
	}
}

func TestGitSettingsThatAreNone(t *testing.T) {
	g := newGitter(t)
	_, err := g.relay.Env([]string{"GIT_CONFIG_COUNT=two"})
	wantError(t, "Env", err, `GIT_CONFIG_COUNT="two"`)
}
