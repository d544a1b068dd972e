package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestParseMounts(t *testing.T) {
	const info = `22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:40 / /state/containerd/a rw - overlay overlay rw
31 22 0:41 / /state/with\040space rw - tmpfs tmpfs rw
32 22 0:42 / /state-of-another/b rw - tmpfs tmpfs rw
33 22 0:43 / /state rw - tmpfs tmpfs rw
34 30 0:44 net:[1] /state/containerd/a/ns rw - nsfs nsfs rw
`
	want := []string{"/state/containerd/a", "/state/with space", "/state/containerd/a/ns"}
	if got := parseMounts(info, "/state"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOwnTables(t *testing.T) {
	clean := before{Sysctls: map[string]string{}}
	shared := before{Sysctls: map[string]string{}, Tables: []string{"ip kube-proxy", "ip nat"}}
	for _, c := range []struct {
		b     before
		table string
		want  bool
	}{
		{clean, "ip fmc-e2e", true},
		{clean, "ip kube-proxy", true},
		{clean, "ip6 kube-proxy", true},
		{clean, "ip nat", false},
		{clean, "inet filter", false},
		{clean, "inet fmc-e2e", false},
		{shared, "ip kube-proxy", false},
		{shared, "ip fmc-e2e", true},
		// Without a record of what was there before, only the own name counts.
		{before{}, "ip kube-proxy", false},
		{before{}, "ip fmc-e2e", true},
	} {
		if got := c.b.isOurs(c.table); got != c.want {
			t.Errorf("%v, table %q: got %v", c.b, c.table, got)
		}
	}
}

func TestSplitRule(t *testing.T) {
	for rule, want := range map[string][]string{
		`PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT`:   {"PREROUTING", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "CNI-HOSTPORT-DNAT"},
		`X -m comment --comment "dnat name: \"fmc-e2e\" id: \"1\"" -j Y`: {"X", "-m", "comment", "--comment", `dnat name: "fmc-e2e" id: "1"`, "-j", "Y"},
		`X --comment "" -j Y`: {"X", "--comment", "", "-j", "Y"},
	} {
		if got := splitRule(rule); !slices.Equal(got, want) {
			t.Errorf("%s: got %q", rule, got)
		}
	}
}

func TestRemoveStateKeepsLogs(t *testing.T) {
	l := testLayout(t.TempDir())
	for _, file := range []string{"etcd/db", "pki/ca.key", "kubeconfig", "logs/etcd.log", "before.json", "lock"} {
		if err := writeFile(l.path(file), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.removeState(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"before.json", "lock", "logs"}; !slices.Equal(left, want) {
		t.Errorf("left: %q, want %q", left, want)
	}
}

func TestRemoveSocketsStaysInItsFolder(t *testing.T) {
	l := testLayout(t.TempDir())
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{
		"a": "unix://" + precious,
		"b": "unix:///run/containerd/s/../../.." + precious,
		"c": "unix:///run/containerd/s/" + "no-such-socket",
	} {
		bundle := l.path("containerd/state/io.containerd.runtime.v2.task/k8s.io", name, "bootstrap.json")
		if err := writeFile(bundle, []byte(`{"address":"`+address+`"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.removeSockets(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error("a file outside the sockets' folder was removed")
	}
}
