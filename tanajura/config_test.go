package main

import (
	"strings"
	"testing"
	"time"
)

func read(vars map[string]string) (config, error) {
	return readConfig(func(name string) string { return vars[name] })
}

func TestDefaults(t *testing.T) {
	cfg, err := read(nil)
	if err != nil || cfg.dir != "/var/lib/tanajura" || cfg.address() != "127.0.0.1:3002" || cfg.grace != 25*time.Second || cfg.static != nil ||
		cfg.limits.Push != 1<<30 {
		t.Errorf("outside Kubernetes: %+v, %v", cfg, err)
	}
	cfg, err = read(map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1", "POD_NAMESPACE": "mine"})
	if err != nil || cfg.address() != ":3002" || !cfg.inCluster || cfg.auth != authKubernetes || cfg.authority != "/var/run/formicarium/authority" {
		t.Errorf("in a pod: %+v, %v", cfg, err)
	}
}

func TestWithoutAuthOnlyLoopback(t *testing.T) {
	for _, bind := range []string{"127.0.0.2", "::1"} {
		if _, err := read(map[string]string{"TANAJURA_BIND": bind}); err != nil {
			t.Errorf("%s: %v", bind, err)
		}
	}
	for _, bind := range []string{"0.0.0.0", "::", "192.168.1.2", "localhost"} {
		if _, err := read(map[string]string{"TANAJURA_BIND": bind}); err == nil || !strings.Contains(err.Error(), "TANAJURA_BIND") {
			t.Errorf("%s: %v, want an error that names the variable", bind, err)
		}
	}
}

func TestAuth(t *testing.T) {
	pod := func(vars map[string]string) map[string]string {
		vars["KUBERNETES_SERVICE_HOST"], vars["POD_NAMESPACE"] = "10.0.0.1", "mine"
		return vars
	}
	for _, c := range []struct {
		vars  map[string]string
		fault string
	}{
		{pod(map[string]string{"TANAJURA_AUTH": "kubernetes"}), ""},
		{pod(map[string]string{"TANAJURA_AUTH": "none", "TANAJURA_BIND": "127.0.0.1"}), ""},
		{pod(map[string]string{"TANAJURA_AUTH": "none"}), "TANAJURA_BIND="},
		{pod(map[string]string{"TANAJURA_AUTH": "none", "TANAJURA_BIND": "0.0.0.0"}), "TANAJURA_BIND="},
		{pod(map[string]string{"TANAJURA_AUTHORITY": "relative"}), "TANAJURA_AUTHORITY="},
		{map[string]string{"TANAJURA_AUTH": "kubernetes"}, "TANAJURA_AUTH="},
	} {
		if _, err := read(c.vars); (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%v: %v, want %q", c.vars, err, c.fault)
		}
	}
}

func TestAllFaultsAreTold(t *testing.T) {
	_, err := read(map[string]string{
		"KUBERNETES_SERVICE_HOST": "10.0.0.1", "TANAJURA_PORT": "x", "TANAJURA_AUTH": "maybe", "TANAJURA_MAX_PUSH": "-1",
		"TANAJURA_GRACE": "soon", "TANAJURA_LOG_LEVEL": "loud", "TANAJURA_BIND": "nowhere",
	})
	if err == nil {
		t.Fatal("no fault was found")
	}
	for _, name := range []string{"TANAJURA_PORT", "TANAJURA_AUTH", "TANAJURA_MAX_PUSH", "TANAJURA_GRACE", "TANAJURA_LOG_LEVEL", "TANAJURA_BIND", "POD_NAMESPACE"} {
		if !strings.Contains(err.Error(), name+"=") {
			t.Errorf("the error does not name %s:\n%v", name, err)
		}
	}
	if _, err := read(map[string]string{"TANAJURA_STINGERS": "orders"}); err == nil || !strings.Contains(err.Error(), "TANAJURA_STINGERS") {
		t.Errorf("a Stinger without a URL: %v", err)
	}
}
