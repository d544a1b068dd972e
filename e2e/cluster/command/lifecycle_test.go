//go:build lifecycle

package command

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestLifecycle takes the machine's own cluster through what may befall it:
// daemons killed, a start that fails, the end. It needs root, and it ends with
// the cluster down.
func TestLifecycle(t *testing.T) {
	t.Chdir("..") // where the programs' sources are found
	dir := os.Getenv("FMC_CLUSTER_DIR")
	if dir == "" {
		dir = "/var/lib/formicarium-e2e"
	}
	up(t)
	killDaemons(t, dir, "kubelet", "kube-apiserver", "containerd")
	up(t)
	nodes := kubectl(t, dir, "get", "nodes", "--no-headers")
	if fields := strings.Fields(nodes); len(fields) < 2 || fields[1] != "Ready" {
		t.Errorf("after the daemons were killed and up, the nodes are %q", nodes)
	}
	if out := mustRun(t, "up"); !strings.Contains(out, "the cluster is up") {
		t.Errorf("up on a healthy cluster says %q", out)
	}
	// Killed, with everything of theirs left behind, and then taken down.
	killDaemons(t, dir, "kubelet", "kube-proxy", "containerd", "etcd")
	down(t, dir)

	// Somebody else has etcd's port.
	listener, err := net.Listen("tcp", "127.0.0.1:12379")
	if err != nil {
		t.Fatal(err)
	}
	out, err := runHere(t, "up")
	listener.Close()
	if err == nil {
		t.Fatalf("up came to an end with etcd's port taken:\n%s", out)
	}
	if said := err.Error(); !strings.Contains(said, "etcd") || !strings.Contains(said, "address already in use") {
		t.Errorf("the failed start says %q, want the daemon and the end of its log", said)
	}
	down(t, dir)
}

// up brings the cluster up.
func up(t *testing.T) {
	t.Helper()
	if out := mustRun(t, "up"); !strings.Contains(out, "KUBECONFIG=") {
		t.Fatalf("up does not print the kubeconfig:\n%s", out)
	}
}

// down takes the cluster down, which looks for leftovers by itself, and looks
// once more with other eyes.
func down(t *testing.T, dir string) {
	t.Helper()
	mustRun(t, "down", "--purge")
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("mounts below %s are left:\n%s", dir, mounts)
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if strings.HasPrefix(link.Name, "fmc-") || strings.HasPrefix(link.Name, "veth") {
			t.Errorf("the link %s is left", link.Name)
		}
	}
	tables, err := exec.CommandContext(t.Context(), "nft", "list", "tables").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(tables), "fmc-e2e") || strings.Contains(string(tables), "kube-proxy") {
		t.Errorf("tables are left:\n%s", tables)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "lock" { // it is held while the others are removed
			t.Errorf("%s is left in %s", entry.Name(), dir)
		}
	}
}

// killDaemons kills daemons by their pid files, and sees to it that they are
// what they should be.
func killDaemons(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, "run", name+".pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.Fields(string(text))[0])
		if err != nil {
			t.Fatal(err)
		}
		exe, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if err != nil || !bytes.Contains(exe, []byte(dir)) {
			t.Fatalf("pid %d of %s runs %q, %v", pid, name, exe, err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
}

func kubectl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "bin", "kubectl"), append([]string{"--kubeconfig", filepath.Join(dir, "kubeconfig")}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := runHere(t, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// runHere runs a command in the environment of the test.
func runHere(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := Run(t.Context(), args, os.Getenv, &out, &out)
	t.Logf("%s\n%s", strings.Join(args, " "), out.String())
	return out.String(), err
}
