package command

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// run runs a command with the variables, in folders of the test's own.
func run(t *testing.T, env map[string]string, args ...string) (string, error) {
	t.Helper()
	all := map[string]string{"FMC_CACHE_DIR": t.TempDir(), "FMC_CLUSTER_DIR": filepath.Join("/tmp", filepath.Base(t.TempDir())+"-none")}
	for k, v := range env {
		all[k] = v
	}
	var out bytes.Buffer
	err := Run(t.Context(), args, func(name string) string { return all[name] }, &out, &out)
	return out.String(), err
}

func TestUsage(t *testing.T) {
	out, err := run(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deps", "build", "up", "down", "status", "images", "env", "FMC_CACHE_DIR", "FMC_CLUSTER_DIR", "FMC_E2E_KUBECONFIG"} {
		if !strings.Contains(out, name) {
			t.Errorf("the usage does not name %s", name)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{nil, []string{"upp"}, `no command "upp"`},
		{nil, []string{"up", "now"}, "unexpected arguments: now"},
		{nil, []string{"down", "--purge", "now"}, "unexpected arguments: now"},
		{nil, []string{"images", "nonsense"}, "no image nonsense; there are: chamber-clojure"},
		{nil, []string{"images", "debug"}, "the cluster is not up"},
		{map[string]string{"FMC_CLUSTER_DIR": "state"}, []string{"status"}, "want an absolute path"},
		{map[string]string{"FMC_CLUSTER_DIR": "/" + strings.Repeat("x", 80)}, []string{"status"}, "at most 77 characters"},
		{map[string]string{"FMC_CLUSTER_DIR": "/a b"}, []string{"status"}, "without spaces"},
	} {
		if _, err := run(t, c.env, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %q: got %v, want %q", c.env, c.args, err, c.want)
		}
	}
}

func TestSettingsReportsAllFaults(t *testing.T) {
	_, err := settingsFromEnv(func(name string) string {
		return map[string]string{"FMC_CACHE_DIR": "a", "FMC_E2E_KUBECONFIG": "b"}[name]
	})
	if err == nil || !strings.Contains(err.Error(), "FMC_CACHE_DIR") || !strings.Contains(err.Error(), "FMC_E2E_KUBECONFIG") {
		t.Errorf("got %v", err)
	}
}

func TestSettingsDefaults(t *testing.T) {
	env := map[string]string{"HOME": "/home/me", "KUBECONFIG": "/home/me/.kube/config"}
	s, err := settingsFromEnv(func(name string) string { return env[name] })
	want := settings{cacheDir: "/home/me/.cache/formicarium", stateDir: "/var/lib/formicarium-e2e"}
	if err != nil || s != want {
		t.Errorf("got %+v %v, want %+v: the user's own KUBECONFIG is not for us", s, err, want)
	}
	env["XDG_CACHE_HOME"] = "/var/cache/me"
	if s, _ = settingsFromEnv(func(name string) string { return env[name] }); s.cacheDir != "/var/cache/me/formicarium" {
		t.Errorf("got %+v", s)
	}
}

func TestDownLeavesForeignClusterAlone(t *testing.T) {
	out, err := run(t, map[string]string{"FMC_E2E_KUBECONFIG": "/their/kubeconfig"}, "down")
	if err != nil || !strings.Contains(out, "nothing done") {
		t.Errorf("got %q %v", out, err)
	}
}

func TestImagesForForeignCluster(t *testing.T) {
	out, err := run(t, map[string]string{"FMC_E2E_KUBECONFIG": "/their/kubeconfig"}, "images", "debug")
	if err != nil || !strings.Contains(out, "--save DIR") {
		t.Errorf("got %q %v", out, err)
	}
}

// A cluster of the user's choice is asked by its kubeconfig, and by that only.
func TestUpWithForeignCluster(t *testing.T) {
	bin := t.TempDir()
	const script = "#!/bin/sh\n[ \"$2\" = /their/kubeconfig ] && [ \"$6\" = --raw ] && echo ok\n"
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	out, err := run(t, map[string]string{"FMC_E2E_KUBECONFIG": "/their/kubeconfig"}, "up")
	if err != nil || out != "KUBECONFIG=/their/kubeconfig\n" {
		t.Errorf("got %q %v", out, err)
	}
	if _, err = run(t, map[string]string{"FMC_E2E_KUBECONFIG": "/another"}, "up"); err == nil {
		t.Error("a cluster that does not answer is taken for ready")
	}
}

func TestNotInstalled(t *testing.T) {
	got := notInstalled([]string{"runc", "git", "kmod", "mount"}, "runc installed\ngit config-files\nmount installed\n")
	if !slices.Equal(got, []string{"git", "kmod"}) {
		t.Errorf("got %q", got)
	}
}

func TestQuote(t *testing.T) {
	if got := quote("it's"); got != `'it'\''s'` {
		t.Errorf("got %s", got)
	}
}
