package devspace

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/stinger/agent"
	"github.com/formicarium/formicarium/stinger/pull"
	"github.com/formicarium/formicarium/stinger/server"
	"github.com/formicarium/formicarium/stinger/supervise"
	"github.com/formicarium/formicarium/tanajura/hubtest"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	k8stesting "k8s.io/client-go/testing"
)

// service is a deployed service, orders, over a real hub and a real Stinger;
// only the API server is a fake.
type service struct {
	*testing.T
	client *Client
	hub    *hubtest.Hub
	agent  *agent.Agent
	dir    string // is synced
	pod    string // its name
	d      *Directory
	open   func() // opens d again, as a new run of the plugin does
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{T: t, hub: hubtest.New(t), dir: t.TempDir()}
	s.hub.CreateRepository("orders")
	handler := s.startStinger()
	stinger := httptest.NewServer(handler)
	t.Cleanup(stinger.Close)
	s.hub.SetStingers("orders", stinger.URL)
	s.pod = strings.TrimPrefix(stinger.URL, "http://") // as the hub calls it
	address, err := url.Parse(s.hub.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(address) }, FlushInterval: -1}
	s.client = fakeClient(t, pods{"tanajura-1/3002": proxy.ServeHTTP, s.pod + "/24000": handler.ServeHTTP},
		append(deployment("orders", 1), servicePod("orders", s.pod, corev1.ConditionTrue), hubPod(), mine())...)
	s.client.Settle = 200 * time.Millisecond
	// The fake knows no server-side apply.
	s.client.Dynamic.(*dynamicfake.FakeDynamicClient).PrependReactor("patch", "*", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, &unstructured.Unstructured{}, nil
	})
	hub := s.client.Hub("mine")
	t.Cleanup(func() { hub.Close() })
	cache := t.TempDir()
	s.open = func() {
		if s.d, err = s.client.OpenDirectory(hub, DirectoryConfig{Path: s.dir, Service: "orders", Devspace: "mine", CacheDir: cache}); err != nil {
			t.Fatal(err)
		}
	}
	s.open()
	t.Cleanup(func() { s.d.Close() })
	return s
}

// startStinger starts a Stinger that runs the directory's .fmc/start.
func (s *service) startStinger() http.Handler {
	s.Helper()
	app, state := s.TempDir(), s.TempDir()
	p, err := pull.Open(pull.Options{URL: s.hub.RepositoryURL("orders"), App: app, State: state})
	if err != nil {
		s.Fatal(err)
	}
	scripts := supervise.Scripts{Dir: state, App: app}
	group := supervise.New(supervise.Options{
		Command: scripts.Start, Dir: app, Grace: 5 * time.Second,
		Backoff: supervise.Backoff{First: time.Hour, Max: time.Hour}, // what crashed stays down
	})
	s.agent = agent.New(agent.Options{
		Puller: p, Group: group, Scripts: scripts, StartAfterPull: true, State: state,
		Stdout: io.Discard, Stderr: io.Discard, RetryFirst: 5 * time.Millisecond, RetryMax: 20 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.agent.Run(ctx, func() syscall.Signal { return syscall.SIGTERM }); err != nil {
			s.Errorf("Run = %v", err)
		}
	})
	s.Cleanup(func() {
		cancel()
		running.Wait()
		p.Close()
	})
	return server.New(ctx, s.agent, slog.New(slog.DiscardHandler))
}

// write changes the directory.
func (s *service) write(name, content string) {
	s.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.Fatal(err)
	}
}

// program makes the directory one that serves.
func (s *service) program() {
	s.Helper()
	s.write(".fmc/start", "exec sleep 1000\n")
}

// breakBuild makes the directory one that does not build.
func (s *service) breakBuild() {
	s.Helper()
	s.write(".fmc/build", "echo line 7 is wrong; exit 2\n")
}

func (s *service) syncOnce() (string, error) {
	s.Helper()
	var out strings.Builder
	err := s.d.SyncOnce(s.Context(), &out)
	return out.String(), err
}

// eventually waits for what happens in its own time.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// wantError fails the test unless err has all the parts.
func wantError(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s = %v, want an error with %q", what, err, part)
		}
	}
}
