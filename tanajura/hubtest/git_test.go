package hubtest_test

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// git runs the real git towards a hub that it knows by the devspace's authority. A
// token comes from a credential helper, which notes that it was asked.
func git(t *testing.T, h *hubtest.Secure, dir, token string, args ...string) (said string, asked int, err error) {
	t.Helper()
	u, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(t.TempDir(), "asked")
	helper := filepath.Join(t.TempDir(), "helper")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = get ] || exit 0\necho asked >> %s\n[ -z \"$TOKEN\" ] || printf 'username=fmc\\npassword=%%s\\n' \"$TOKEN\"\n", note)
	if err := os.WriteFile(helper, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	config := []string{
		"http.curloptResolve", api.HubName + ":" + u.Port() + ":127.0.0.1",
		"credential.helper", helper,
		"user.name", "t", "user.email", "t@example.com",
	}
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=",
		"GIT_SSL_CAINFO="+filepath.Join(h.AuthorityDir, api.AuthorityCertificate), "TOKEN="+token, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(config)/2))
	for i := 0; i < len(config); i += 2 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i/2, config[i]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i/2, config[i+1]))
	}
	out, err := cmd.CombinedOutput()
	times, _ := os.ReadFile(note)
	return string(out), strings.Count(string(times), "asked"), err
}

// The real git asks for a credential when the hub wants one, and works with it.
func TestGitWithToken(t *testing.T) {
	h := hubtest.NewSecure(t, "mine")
	h.CreateRepository("orders")
	u, err := url.Parse(h.RepositoryURL("orders"))
	if err != nil {
		t.Fatal(err)
	}
	remote := "https://" + api.HubName + ":" + u.Port() + u.Path
	developer, pod := h.Cluster.DeveloperToken("mine"), h.Cluster.PodToken("mine", "orders-1", "1")
	dir := t.TempDir()
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"commit", "-q", "--allow-empty", "-m", "one"}} {
		if said, _, err := git(t, h, dir, "", args...); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, said)
		}
	}
	if said, asked, err := git(t, h, dir, "", "push", remote, "main"); err == nil || asked == 0 {
		t.Errorf("without a token: %v, a credential was asked for %d times\n%s", err, asked, said)
	}
	if said, _, err := git(t, h, dir, pod, "push", remote, "main"); err == nil || !strings.Contains(said, `may fetch from this hub, and not update repositories.formicarium.io "orders"`) {
		t.Errorf("a pod's push: %v\n%s", err, said)
	}
	if head := h.Head("orders"); head != "" {
		t.Fatalf("the head is %s after pushes that were refused", head)
	}
	if said, asked, err := git(t, h, dir, developer, "push", remote, "main"); err != nil || asked != 1 {
		t.Errorf("a developer's push: %v, a credential was asked for %d times\n%s", err, asked, said)
	}
	if h.Head("orders") == "" {
		t.Error("nothing was pushed")
	}
	if said, asked, err := git(t, h, t.TempDir(), pod, "clone", "-q", remote, "copy"); err != nil || asked != 1 {
		t.Errorf("a pod's clone: %v, a credential was asked for %d times\n%s", err, asked, said)
	}
}
