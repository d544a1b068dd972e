package main

import (
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/stinger/gittest"
)

// inHosts runs a command for which the hub's name is that of this machine.
const inHosts = `mount --bind "$1" /etc/hosts && shift && exec "$@"`

// startInDevspace runs Stinger as in a pod, but on loopback, in front of a
// devspace's hub; without the pod's identity, which WriteIdentity brings.
func startInDevspace(t *testing.T, hub *gittest.Devspace, identity string, vars []string, args ...string) *program {
	t.Helper()
	p := &program{TB: t, hub: hub.Hub, dir: t.TempDir(), ended: make(chan struct{})}
	hosts := filepath.Join(p.dir, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+api.HubName+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", inHosts, "sh", hosts, binary, "run"}, args...)...)
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	p.begin(cmd, append([]string{"KUBERNETES_SERVICE_HOST=10.0.0.1", "STINGER_BIND=127.0.0.1", "STINGER_IDENTITY=" + identity}, vars...))
	p.url = "https://" + strings.TrimPrefix(p.url, "http://")
	return p
}

// as returns the program as one of the devspace calls it; nil is nobody.
func (p *program) as(hub *gittest.Devspace, who *identity.Identity) *program {
	var own func() (*tls.Certificate, error)
	if who != nil {
		c := hub.Issue(*who)
		own = func() (*tls.Certificate, error) { return c, nil }
	}
	transport := &http.Transport{TLSClientConfig: identity.ClientConfig(hub.Pod, hub.Authority().Roots(), own)}
	p.Cleanup(transport.CloseIdleConnections)
	return &program{TB: p.TB, url: p.url, client: &http.Client{Transport: transport}}
}

// certified waits for the pod's certificate.
func (p *program) certified() {
	p.Helper()
	p.eventually("a certificate", func() bool { return strings.Contains(p.stderr.String(), "got a certificate") })
}

var theHub, aDeveloper = identity.Identity{Kind: identity.Hub}, identity.Identity{Kind: identity.Developer, Name: "ann"}

func TestASaveInADevspace(t *testing.T) {
	hub, own := gittest.NewDevspace(t, "mine"), t.TempDir()
	hub.SetToken("header.claims.not-to-be-shown")
	hub.WriteIdentity(own)
	hub.Write(".fmc/start", "#!/bin/sh\nexec sleep 1000\n", 0o755)
	hub.Commit()
	// As an earlier version's annotations have it.
	p := startInDevspace(t, hub, own, []string{"GIT_URL=" + strings.Replace(hub.URL, "https:", "http:", 1)})
	p.eventually("readiness, for the kubelet", func() bool { return p.call("GET", "/ready", "", &struct{}{}) == 200 })
	p.certified()

	hub.Write("greeting", "two\n", 0o644)
	commit := hub.Commit()
	var result api.PullResult
	if code := p.as(hub, &theHub).call("POST", "/pull", `{"commit":"`+commit+`"}`, &result); code != 200 || result.Error != "" || result.Commit != commit {
		t.Errorf("POST /pull by the hub = %d %+v", code, result)
	}
	var status api.StingerStatus
	if code := p.as(hub, &aDeveloper).call("GET", "/status", "", &status); code != 200 || status.Commit != commit {
		t.Errorf("GET /status by a developer = %d %+v", code, status)
	}
	var fault api.Error
	if code := p.as(hub, nil).call("POST", "/stop", "", &fault); code != 401 || !strings.Contains(fault.Error, "certificate") {
		t.Errorf("POST /stop by nobody = %d %+v", code, fault)
	}
	response, err := http.Post("http://"+strings.TrimPrefix(p.url, "https://")+"/stop", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 400 {
		t.Errorf("POST /stop without TLS: %s", response.Status)
	}
	memory, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("idle: %s", regexp.MustCompile(`VmRSS:.*`).Find(memory))
	p.signal(syscall.SIGTERM, true)
	if text := p.stderr.String() + p.stdout.String(); strings.Contains(text, "not-to-be-shown") {
		t.Errorf("the token is in the log:\n%s", text)
	}
}

// The hub may come after its pods, and go: they wait for it, and the probes are
// answered meanwhile.
func TestHubThatIsAwayAtFirst(t *testing.T) {
	hub, own := gittest.NewDevspace(t, "mine"), t.TempDir()
	hub.WriteIdentity(own)
	hub.Write("f", "", 0o644)
	hub.Commit()
	plug := hub.Unplug()
	p := startInDevspace(t, hub, own, nil, "--", "sleep", "1000")
	if code := p.call("GET", "/health", "", &struct{}{}); code != 200 {
		t.Errorf("GET /health = %d", code)
	}
	if code := p.call("GET", "/ready", "", &api.Error{}); code != 503 {
		t.Errorf("GET /ready = %d", code)
	}
	p.eventually("the reason", func() bool { return strings.Contains(p.stderr.String(), "no certificate yet") })
	plug()
	p.eventually("readiness", func() bool { return p.call("GET", "/ready", "", &struct{}{}) == 200 })
	p.certified()
	var status api.StingerStatus
	if code := p.as(hub, &aDeveloper).call("GET", "/status", "", &status); code != 200 || status.Commit != hub.Head() {
		t.Errorf("GET /status = %d %+v", code, status)
	}
}

// A pod in no devspace runs what it would have run; nobody gives it orders.
func TestOutsideOfADevspace(t *testing.T) {
	hub := gittest.NewDevspace(t, "mine")
	p := startInDevspace(t, hub, filepath.Join(t.TempDir(), "none"), []string{"STINGER_WAIT_FOR_CODE=false"}, "--", "sh", "-c", "echo own; exec sleep 1000")
	p.eventually("its own command", func() bool { return p.stdout.String() == "own\n" })
	p.eventually("readiness", func() bool { return p.call("GET", "/ready", "", &struct{}{}) == 200 })
	p.eventually("the reason", func() bool { return strings.Contains(p.stderr.String(), "kubectl fmc devspace create") })
	var fault api.Error
	if code := p.call("POST", "/stop", "", &fault); code != 403 || !strings.Contains(fault.Error, "devspace") {
		t.Errorf("POST /stop = %d %+v", code, fault)
	}
}

// A hub that is not the devspace's gets neither the token nor a connection that
// trusts the devspace alone.
func TestForeignHubGetsNoToken(t *testing.T) {
	devspace, own := gittest.NewDevspace(t, "mine"), t.TempDir()
	devspace.WriteIdentity(own)
	foreign := gittest.New(t)
	foreign.Write("f", "", 0o644)
	foreign.Commit()
	p := startInDevspace(t, devspace, own, []string{"GIT_URL=" + foreign.URL}, "--", "sleep", "1000")
	p.eventually("readiness", func() bool { return p.call("GET", "/ready", "", &struct{}{}) == 200 })
	for _, r := range foreign.Requests() {
		if r.Authorization != "" {
			t.Errorf("%s had a token", r.Path)
		}
	}
}

func TestOpenStingerInAPodIsRefused(t *testing.T) {
	cmd := exec.Command(binary, "run")
	cmd.Env = append(os.Environ(), "GIT_URL=http://h/x.git", "KUBERNETES_SERVICE_HOST=10.0.0.1", "STINGER_AUTH=none")
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "STINGER_BIND") || !strings.Contains(string(out), "STINGER_AUTH") {
		t.Errorf("stinger run = %v\n%s", err, out)
	}
}
