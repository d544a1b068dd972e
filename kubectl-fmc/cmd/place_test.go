package cmd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
	"github.com/formicarium/formicarium/kubectl-fmc/cmd"
)

// cluster is an API server with an installation, the devspace mine and somebody
// else's namespace shop. It refuses every change, and notes what had been printed
// before the first.
type cluster struct {
	*httptest.Server
	stderr testutil.Buffer

	mu      sync.Mutex
	changes []string
	printed string // before the first of them
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	meta := func(kind, version string) metav1.TypeMeta { return metav1.TypeMeta{Kind: kind, APIVersion: version} }
	namespace := func(name string, labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{TypeMeta: meta("Namespace", "v1"), ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	answers := map[string]any{
		"/version":                version.Info{Major: "1", Minor: "33", GitVersion: "v1.33.0"},
		"/api/v1/namespaces":      &corev1.NamespaceList{TypeMeta: meta("NamespaceList", "v1")},
		"/api/v1/namespaces/mine": namespace("mine", map[string]string{api.LabelManagedBy: api.FieldManager, api.LabelDevspace: "mine"}),
		"/api/v1/namespaces/shop": namespace("shop", nil),
		"/api/v1/namespaces/" + api.SystemNamespace + "/configmaps/formicarium": &corev1.ConfigMap{
			TypeMeta: meta("ConfigMap", "v1"), ObjectMeta: metav1.ObjectMeta{Name: "formicarium", Namespace: api.SystemNamespace},
			Data: map[string]string{"version": "v1", "registry": "registry.example/fmc", "tag": "v1", "pullPolicy": "IfNotPresent"},
		},
	}
	owned := func(kind, version, name string) map[string]any {
		return map[string]any{"kind": kind, "apiVersion": version, "metadata": map[string]any{"name": name, "labels": map[string]string{api.LabelManagedBy: api.FieldManager}}}
	}
	const hooks, roles = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", "/apis/rbac.authorization.k8s.io/v1/clusterroles/"
	answers[hooks] = map[string]any{"kind": "List", "apiVersion": "v1", "items": []any{owned("MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1", "formicarium")}}
	answers[roles+"formicarium-token-reviewer"] = owned("ClusterRole", "rbac.authorization.k8s.io/v1", "formicarium-token-reviewer")
	c := &cluster{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		status, body := http.StatusOK, answers[r.URL.Path]
		if r.Method != http.MethodGet {
			c.mu.Lock()
			if c.changes = append(c.changes, r.Method+" "+r.URL.Path); len(c.changes) == 1 {
				c.printed = c.stderr.String()
			}
			c.mu.Unlock()
			status, body = http.StatusBadRequest, &metav1.Status{TypeMeta: meta("Status", "v1"), Status: "Failure", Reason: "BadRequest", Message: "it is for reading only", Code: http.StatusBadRequest}
		} else if body == nil && r.URL.Query().Has("labelSelector") {
			body = map[string]any{"kind": "List", "apiVersion": "v1", "items": []any{}}
		} else if body == nil {
			status, body = http.StatusNotFound, &metav1.Status{TypeMeta: meta("Status", "v1"), Status: "Failure", Reason: "NotFound", Message: "there is none", Code: http.StatusNotFound}
		}
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(c.Close)
	return c
}

// run runs the plugin; the context work is the cluster's.
func (c *cluster) run(t *testing.T, args ...string) error {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, "cache"))
	config := filepath.Join(home, "kubeconfig")
	text := strings.NewReplacer("current-context: test", "current-context: other", "name: test, context", "name: work, context", "http://127.0.0.1:1", c.URL).Replace(kubeconfig)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string {
		return map[string]string{"FMC_CONFIG": filepath.Join(home, "fmc.json")}[name]
	}
	return cmd.Run(context.Background(), append(args, "--kubeconfig", config, "--context", "work"), getenv, &testutil.Buffer{}, &c.stderr)
}

// TestPlaceIsSaidFirst: which cluster a verb works in is printed before anything
// is changed there.
func TestPlaceIsSaidFirst(t *testing.T) {
	work := t.TempDir()
	for _, args := range [][]string{
		{"install", "--registry", "registry.example/fmc", "--tag", "v1"},
		{"uninstall"},
		{"devspace", "create", "another"},
		{"devspace", "delete", "mine", "--yes"},
		{"deploy", "orders", work, "--image", "busybox", "--command", "sleep 1000", "-n", "mine"},
	} {
		t.Run(strings.Join(args[:min(2, len(args))], " "), func(t *testing.T) {
			c := newCluster(t)
			err := c.run(t, args...)
			if err == nil || len(c.changes) == 0 {
				t.Fatalf("%v = %v, and it changed %q; want it to try", args, err, c.changes)
			}
			if want := fmt.Sprintf("(context work, %s)\n", c.URL); !strings.Contains(c.printed, want) {
				t.Errorf("before %s it printed %q, want %q", c.changes[0], c.printed, want)
			}
		})
	}
}

// TestNothingIsDeletedUnasked: neither a devspace without a yes, nor a namespace
// that is none with one.
func TestNothingIsDeletedUnasked(t *testing.T) {
	for _, c := range []struct {
		args  []string
		error string
	}{
		{[]string{"devspace", "delete", "mine"}, "give --yes"},
		{[]string{"devspace", "delete", "shop", "--yes"}, "shop"},
		{[]string{"deploy", "orders", t.TempDir(), "--image", "busybox", "--command", "sleep 1000", "-n", "shop"}, "shop"},
		{[]string{"sync", "orders", t.TempDir(), "--once", "-n", "shop"}, "shop"},
	} {
		server := newCluster(t)
		err := server.run(t, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.error) || len(server.changes) > 0 {
			t.Errorf("%v = %v, want an error with %q; it changed %q", c.args, err, c.error, server.changes)
		}
		if slices.Contains(c.args, "mine") && !strings.Contains(server.stderr.String(), "deleting devspace mine (context work, "+server.URL) {
			t.Errorf("the question follows %q, want the cluster named", server.stderr.String())
		}
	}
}
