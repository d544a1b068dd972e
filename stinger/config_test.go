package main

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func parse(vars map[string]string, writable bool) (config, error) {
	return configFromEnv(func(name string) string { return vars[name] }, func(string) bool { return writable })
}

func TestConfigDefaults(t *testing.T) {
	got, err := parse(map[string]string{"GIT_URL": "http://tanajura:24090/orders.git"}, false)
	want := config{app: "/app", scripts: "/scripts", state: "/.app.stinger", gitURL: "http://tanajura:24090/orders.git",
		waitForCode: true, port: 24000, bind: "127.0.0.1", grace: 10 * time.Second, buildTimeout: time.Hour, auth: "none", identity: "/fmc/identity"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("config = %+v, %v, want %+v", got, err, want)
	}
}

func TestConfigInAPod(t *testing.T) {
	got, err := parse(map[string]string{
		"GIT_URL": "https://hub/x.git", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "APP_PATH": "/srv/app/", "STINGER_SCRIPTS": "/etc/s",
		"START_AFTER_PULL": "true", "STINGER_PORT": "24001", "STINGER_GRACE": "2s", "STINGER_BUILD_TIMEOUT": "1h30m", "STINGER_WAIT_FOR_CODE": "false",
	}, true)
	want := config{app: "/srv/app", scripts: "/etc/s", state: "/fmc/state", gitURL: "https://hub/x.git",
		startAfterPull: true, port: 24001, bind: "", grace: 2 * time.Second, buildTimeout: 90 * time.Minute, auth: "devspace", identity: "/fmc/identity"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("config = %+v, %v, want %+v", got, err, want)
	}
}

func TestConfigFaultsAreAllNamed(t *testing.T) {
	_, err := parse(map[string]string{
		"GIT_URL": "ssh://user:secret@hub/x.git", "START_AFTER_PULL": "ture", "STINGER_PORT": "70000", "STINGER_GRACE": "10", "STINGER_BUILD_TIMEOUT": "0",
		"APP_PATH": "app", "STINGER_SCRIPTS": "/", "STINGER_AUTH": "nobody", "STINGER_IDENTITY": "id", "STINGER_BIND": "0.0.0.0",
	}, false)
	for _, part := range []string{
		`START_AFTER_PULL="ture": want true or false`, `STINGER_PORT="70000"`, `STINGER_GRACE="10"`, `STINGER_BUILD_TIMEOUT="0": want a duration longer than 0`, `APP_PATH="app"`, `STINGER_SCRIPTS="/"`, "GIT_URL=", `STINGER_AUTH="nobody": want one of devspace, none`, `STINGER_IDENTITY="id"`, `STINGER_BIND="0.0.0.0"`,
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %s:\n%v", part, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows a password:\n%v", err)
	}
	for _, state := range []string{"/app", "/app/.state", "/"} {
		if _, err := parse(map[string]string{"GIT_URL": "http://h/x.git", "STINGER_STATE": state}, false); err == nil || !strings.Contains(err.Error(), "STINGER_STATE") {
			t.Errorf("STINGER_STATE=%s: %v", state, err)
		}
	}
	if _, err := parse(nil, false); err == nil || !strings.Contains(err.Error(), "GIT_URL") {
		t.Errorf("without GIT_URL: %v", err)
	}
}

// An application may have variables of Stinger's names for itself.
func TestOwnNamesGoFirst(t *testing.T) {
	vars := map[string]string{
		"APP_PATH": "relative, the application's", "GIT_URL": "ssh://x", "START_AFTER_PULL": "sometimes",
		"STINGER_APP_PATH": "/fmc/app", "STINGER_GIT_URL": "http://hub/x.git", "STINGER_START_AFTER_PULL": "true",
	}
	c, err := configFromEnv(func(name string) string { return vars[name] }, func(string) bool { return true })
	if err != nil || c.app != "/fmc/app" || c.gitURL != "http://hub/x.git" || !c.startAfterPull {
		t.Errorf("%+v, %v", c, err)
	}
}

// Without TLS it is nobody's outside of this machine.
func TestOpenToLoopbackOnly(t *testing.T) {
	for bind, ok := range map[string]bool{"": false, "0.0.0.0": false, "::": false, "10.0.0.7": false, "example.org": false, "127.0.0.1": true, "127.1.2.3": true, "::1": true, "localhost": true} {
		_, err := parse(map[string]string{"GIT_URL": "http://h/x.git", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "STINGER_AUTH": "none", "STINGER_BIND": bind}, true)
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "STINGER_BIND") {
			t.Errorf("STINGER_BIND=%q in a pod: %v", bind, err)
		}
	}
}

// What is called as a hub is one, and is spoken to by TLS only; to others
// nothing changes.
func TestWhereTheHubIs(t *testing.T) {
	for address, want := range map[string]struct {
		url, authority string
		hub            bool
	}{
		"http://tanajura:24090/x.git":       {"https://tanajura:24090/x.git", "https://tanajura:24090", true},
		"https://tanajura.mine.svc:1/x.git": {"https://tanajura.mine.svc:1/x.git", "https://tanajura.mine.svc:1", true},
		"http://tanajura-x:24090/x.git":     {"http://tanajura-x:24090/x.git", "https://tanajura:24090", false},
		"http://git.example/x.git":          {"http://git.example/x.git", "https://tanajura:24090", false},
		"https://u:p@tanajura:24090/x.git":  {"https://u:p@tanajura:24090/x.git", "https://tanajura:24090", true},
	} {
		c, err := parse(map[string]string{"GIT_URL": address, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, true)
		if err != nil || c.gitURL != want.url || c.authority() != want.authority || c.isOfHub() != want.hub {
			t.Errorf("%s: %s, %s, %v, %v, want %+v", address, c.gitURL, c.authority(), c.isOfHub(), err, want)
		}
	}
	c, err := parse(map[string]string{"GIT_URL": "http://tanajura:24090/x.git"}, true)
	if err != nil || c.isOfHub() || c.gitURL != "http://tanajura:24090/x.git" {
		t.Errorf("outside of a pod: %+v, %v", c, err)
	}
}
