package devspace

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/stinger/agent"
	"github.com/formicarium/formicarium/stinger/credential"
	"github.com/formicarium/formicarium/stinger/pull"
	"github.com/formicarium/formicarium/stinger/server"
	"github.com/formicarium/formicarium/stinger/supervise"
	"github.com/formicarium/formicarium/tanajura/hubtest"
	"github.com/formicarium/formicarium/tanajura/tell"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"
)

// locked is a devspace in which all parts are the real ones and know each other as
// in a cluster: the hub with TLS and reviews, a Stinger with a token and a
// certificate, the plugin over a port-forward. The API server alone is a fake.
type locked struct {
	*testing.T
	hub    *hubtest.Secure
	pod    *corev1.Pod
	keeper *credential.Keeper
	client *Client
}

func newLocked(t *testing.T) *locked {
	t.Helper()
	l := &locked{T: t, hub: hubtest.NewSecure(t, "mine"), pod: servicePod("orders", "orders-1", corev1.ConditionTrue)}
	hubAddress := strings.TrimPrefix(l.hub.URL, "https://")
	stinger := l.startStinger(hubAddress)
	address := strings.TrimPrefix(stinger.URL, "https://")
	l.hub.SetTargets("orders", tell.Target{
		Pod: "orders-1", Container: "orders", URL: stinger.URL,
		Identity: identity.Identity{Devspace: "mine", Kind: identity.Pod, Name: "orders-1", UID: string(l.pod.UID)},
	})
	kube := fake.NewClientset(append(deployment("orders", 1), l.pod, hubPod(), mine(),
		&corev1.ConfigMap{ObjectMeta: authorityMeta("mine"), Data: map[string]string{api.IdentityAuthority: string(l.hub.Authority.Certificate())}})...)
	kube.PrependReactor("create", "serviceaccounts", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{
			Token: l.hub.Cluster.DeveloperToken("mine"), ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour)),
		}}, nil
	})
	l.client = &Client{Kube: kube, Poll: time.Millisecond, Settle: 50 * time.Millisecond, Answer: 20 * time.Second}
	hubForward, stingerForward := newPortForwardServer(t, hubAddress), newPortForwardServer(t, address)
	l.client.Dial = func(namespace string, target Target, secure Secure) PodTransport {
		server := hubForward
		if _, port, err := target(t.Context()); err == nil && port == api.StingerPort {
			server = stingerForward
		}
		return forwardPods(&rest.Config{Host: server.URL})(namespace, target, secure)
	}
	return l
}

// startStinger starts the pod's Stinger, with what the kubelet gives it.
func (l *locked) startStinger(hub string) *httptest.Server {
	l.Helper()
	dir, app, state := l.TempDir(), l.TempDir(), l.TempDir()
	for name, text := range map[string]string{
		api.IdentityToken: l.hub.Cluster.PodToken("mine", "orders-1", string(l.pod.UID)), api.IdentityAuthority: string(l.hub.Authority.Certificate()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			l.Fatal(err)
		}
	}
	base := "https://tanajura:24090"
	l.keeper = credential.New(credential.Options{Dir: dir, Hub: base, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, hub)
	}})
	p, err := pull.Open(pull.Options{URL: base + "/orders.git", App: app, State: state, Transport: l.keeper.Transport()})
	if err != nil {
		l.Fatal(err)
	}
	scripts := supervise.Scripts{Dir: state, App: app}
	a := agent.New(agent.Options{
		Puller: p, Scripts: scripts, StartAfterPull: true, State: state,
		Group:  supervise.New(supervise.Options{Command: scripts.Start, Dir: app, Grace: 5 * time.Second, Backoff: supervise.Backoff{First: time.Hour, Max: time.Hour}}),
		Stdout: io.Discard, Stderr: io.Discard, RetryFirst: 5 * time.Millisecond, RetryMax: 20 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.keeper.Run(ctx) })
	running.Go(func() {
		if err := a.Run(ctx, func() syscall.Signal { return syscall.SIGTERM }); err != nil {
			l.Errorf("Run = %v", err)
		}
	})
	listening := httptest.NewUnstartedServer(l.keeper.Guard(server.New(ctx, a, slog.New(slog.DiscardHandler))))
	listening.TLS = l.keeper.ServerConfig()
	listening.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	listening.StartTLS()
	l.Cleanup(func() {
		cancel()
		running.Wait()
		listening.Close()
		p.Close()
	})
	return listening
}

// The whole way of a save, and of what is asked beside it.
func TestSaveInALockedDevspace(t *testing.T) {
	l := newLocked(t)
	hub := l.client.Hub("mine")
	defer hub.Close()
	work := t.TempDir()
	d, err := l.client.OpenDirectory(hub, DirectoryConfig{Path: work, Service: "orders", Devspace: "mine", CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := os.MkdirAll(filepath.Join(work, ".fmc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, ".fmc", "start"), []byte("exec sleep 1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := l.client.servicePods(t.Context(), "mine", "orders")
	if err != nil || len(found) != 1 {
		t.Fatalf("pods = %v, %v", found, err)
	}
	container := runningStingers(found)[0]
	eventually(t, "the Stinger has its certificate", func() bool {
		_, err := l.client.stingerStatus(t.Context(), container)
		return err == nil
	})
	var out strings.Builder
	if err := d.SyncOnce(t.Context(), &out); err != nil || !strings.Contains(out.String(), "orders-1/orders: runs ") || !strings.Contains(out.String(), "orders: in sync") {
		t.Fatalf("sync = %v, printed %s", err, &out)
	}
	before, err := l.client.stingerStatus(t.Context(), container)
	if err != nil || before.Commit != l.hub.Head("orders") || before.State != api.StateRunning {
		t.Fatalf("status = %+v, %v", before, err)
	}
	if err := l.client.Restart(t.Context(), "mine", "orders", io.Discard); err != nil {
		t.Fatal(err)
	}
	if after, err := l.client.stingerStatus(t.Context(), container); err != nil || after.PID == before.PID {
		t.Errorf("after a restart %+v, %v; it was %+v", after, err, before)
	}
	status, err := l.client.Status(t.Context(), "mine", "orders")
	if err != nil || status.HubError != "" || !status.Services[0].InSync {
		t.Errorf("status = %+v, %v", status, err)
	}
}

// git, too, goes all the way, and is told what the hub says of rights.
func TestGitInALockedDevspace(t *testing.T) {
	l := newLocked(t)
	l.hub.CreateRepository("orders")
	relay, err := l.client.RelayGit("mine")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	env, err := relay.Env([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_TERMINAL_PROMPT=0"})
	if err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(t.TempDir(), "work")
	var out string
	for _, args := range [][]string{
		{"clone", "-q", "fmc:orders", work},
		{"-C", work, "-c", "user.name=ann", "-c", "user.email=ann@example.com", "commit", "-q", "--allow-empty", "-m", "a"},
		{"-C", work, "push", "origin", "HEAD:main"},
	} {
		git := exec.CommandContext(t.Context(), "git", args...)
		git.Env = env
		text, err := git.CombinedOutput()
		if out = string(text); err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if l.hub.Head("orders") == "" || !strings.Contains(out, "remote: ") || !strings.Contains(out, "orders-1") {
		t.Errorf("the hub has %q; git said\n%s", l.hub.Head("orders"), out)
	}
}
