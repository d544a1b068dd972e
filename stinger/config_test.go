package main

import (
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
		waitForCode: true, port: 24000, bind: "127.0.0.1", grace: 10 * time.Second}
	if err != nil || got != want {
		t.Errorf("config = %+v, %v, want %+v", got, err, want)
	}
}

func TestConfigInAPod(t *testing.T) {
	got, err := parse(map[string]string{
		"GIT_URL": "https://hub/x.git", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "APP_PATH": "/srv/app/", "STINGER_SCRIPTS": "/etc/s",
		"START_AFTER_PULL": "true", "STINGER_PORT": "24001", "STINGER_GRACE": "2s", "STINGER_WAIT_FOR_CODE": "false",
	}, true)
	want := config{app: "/srv/app", scripts: "/etc/s", state: "/fmc/state", gitURL: "https://hub/x.git",
		startAfterPull: true, port: 24001, bind: "", grace: 2 * time.Second}
	if err != nil || got != want {
		t.Errorf("config = %+v, %v, want %+v", got, err, want)
	}
}

func TestConfigFaultsAreAllNamed(t *testing.T) {
	_, err := parse(map[string]string{
		"GIT_URL": "ssh://user:secret@hub/x.git", "START_AFTER_PULL": "ture", "STINGER_PORT": "70000", "STINGER_GRACE": "10",
		"APP_PATH": "app", "STINGER_SCRIPTS": "/",
	}, false)
	for _, part := range []string{
		`START_AFTER_PULL="ture": want true or false`, `STINGER_PORT="70000"`, `STINGER_GRACE="10"`, `APP_PATH="app"`, `STINGER_SCRIPTS="/"`, "GIT_URL=",
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
