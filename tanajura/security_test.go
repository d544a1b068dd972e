package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/tanajura/guard/guardtest"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/tell"
)

// The program in a devspace serves TLS with its authority's certificate, and asks
// who comes.
func TestDevspaceHub(t *testing.T) {
	authority, err := identity.NewAuthority("mine")
	if err != nil {
		t.Fatal(err)
	}
	key, err := authority.Key()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{api.AuthorityCertificate: authority.Certificate(), api.AuthorityKey: key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port, err := strconv.Atoi(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg := config{
		dir: t.TempDir(), bind: "127.0.0.1", port: port, auth: authKubernetes, authority: dir, namespace: "mine", inCluster: true,
		limits: hub.Limits{}, static: tell.Static{}, grace: 20 * time.Second,
	}
	cluster := guardtest.New(t)
	cluster.GrantDeveloper("mine")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveWith(ctx, cfg, cluster.Client, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ending: %v", err)
		}
	})
	transport := &http.Transport{TLSClientConfig: identity.ClientConfig(identity.Identity{Kind: identity.Hub}, authority.Roots(), nil)}
	t.Cleanup(transport.CloseIdleConnections)
	get := func(path, token string) (int, string, error) {
		request, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+cfg.address()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			return 0, "", err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return response.StatusCode, string(text), err
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if code, _, err := get("/readyz", ""); err == nil && code == http.StatusOK {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("never ready: %d, %v", code, err)
		}
	}
	for token, want := range map[string]int{"": http.StatusUnauthorized, cluster.DeveloperToken("mine"): http.StatusOK, cluster.PodToken("mine", "p", "1"): http.StatusForbidden} {
		if code, text, err := get("/api/repositories", token); err != nil || code != want {
			t.Errorf("%d %s, %v; want %d", code, text, err, want)
		}
	}
	// Who does not speak TLS is told so.
	response, err := http.Get("http://" + cfg.address() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP is answered %s", response.Status)
	}
	strange := &tls.Config{ServerName: api.HubName}
	if conn, err := tls.Dial("tcp", cfg.address(), strange); err == nil {
		conn.Close()
		t.Error("somebody who does not know the authority trusts the hub")
	}
}

// Without an authority the hub says how there comes to be one.
func TestNoAuthority(t *testing.T) {
	cfg := config{dir: t.TempDir(), bind: "127.0.0.1", auth: authKubernetes, authority: t.TempDir(), namespace: "mine"}
	err := serveWith(t.Context(), cfg, guardtest.New(t).Client, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "kubectl fmc devspace create mine") {
		t.Errorf("%v", err)
	}
}
