package node

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs from %s (run with -update to accept it):\n%s", name, path, got)
	}
}

func testLayout(dir string) Layout {
	return Layout{Dir: dir, Images: Images{Pause: "example/pause:1", CoreDNS: "example/coredns:1"}}
}

func TestConfigs(t *testing.T) {
	values := testLayout("/state").values()
	values.PodSubnet6 = PodSubnet6 // whatever this machine's kernel has
	for _, name := range []string{"kubelet.yaml", "kube-proxy.yaml", "containerd.toml", "cni.conflist", "addons.yaml", "masquerade.nft"} {
		b, err := render(name, values)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, string(b))
	}
}

func TestConfigWithoutIPv6(t *testing.T) {
	values := testLayout("/state").values()
	values.PodSubnet6 = ""
	b, err := render("cni.conflist", values)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "cni4.conflist", string(b))
}

func TestDaemonArguments(t *testing.T) {
	var text strings.Builder
	for _, name := range daemonNames() {
		d := testLayout("/state").daemon(name)
		text.WriteString(d.binary + "\n  " + strings.Join(d.args, "\n  ") + "\n")
	}
	golden(t, "arguments", text.String())
}

// Every file that a daemon is pointed to is one that the node writes.
func TestWrittenFilesAreWhatDaemonsRead(t *testing.T) {
	l := testLayout(t.TempDir())
	if err := l.writePKI(); err != nil {
		t.Fatal(err)
	}
	if err := l.writeConfigs(); err != nil {
		t.Fatal(err)
	}
	for _, name := range daemonNames() {
		for _, arg := range l.daemon(name).args {
			_, path, _ := strings.Cut(arg, "=")
			if strings.HasPrefix(path, l.path("pki")+"/") || strings.HasPrefix(path, l.path("etc")+"/") {
				if _, err := os.Stat(path); err != nil {
					t.Errorf("%s: %s: %v", name, arg, err)
				}
			}
		}
	}
	for _, secret := range []string{l.Kubeconfig(), l.pki("ca.key"), l.config("kubelet.kubeconfig")} {
		info, err := os.Stat(secret)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", secret, info.Mode().Perm())
		}
	}
	// The certificates are good enough for a client that verifies them.
	if _, err := l.client("admin", "ca"); err != nil {
		t.Error(err)
	}
}
