package harness

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/formicarium/formicarium/internal/testutil"
)

// Laptop is another machine of the same user's: a harness with a configuration
// and a cache of its own below home. Where road is set its way to the cluster
// leads over that.
func (h *Harness) Laptop(home string, road *testutil.Road) (*Harness, error) {
	other := *h
	if road != nil {
		other.Kubeconfig = filepath.Join(home, "kubeconfig")
		if err := h.detour(other.Kubeconfig, "https://"+road.Addr().String()); err != nil {
			return nil, err
		}
	}
	other.environ(home)
	return &other, nil
}

// Road opens a road to the cluster's API server.
func (h *Harness) Road() (*testutil.Road, error) {
	config, err := clientcmd.BuildConfigFromFlags("", h.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", h.Kubeconfig, err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("parsing the API server's address: %w", err)
	}
	to := server.Host
	if server.Port() == "" {
		to += ":443"
	}
	return testutil.OpenRoad(to)
}

// detour writes a copy of the kubeconfig whose clusters are at another address.
func (h *Harness) detour(path, address string) error {
	config, err := clientcmd.LoadFromFile(h.Kubeconfig)
	if err != nil {
		return fmt.Errorf("reading %s: %w", h.Kubeconfig, err)
	}
	for _, cluster := range config.Clusters {
		server, err := url.Parse(cluster.Server)
		if err != nil {
			return fmt.Errorf("parsing the API server's address: %w", err)
		}
		if cluster.TLSServerName == "" {
			cluster.TLSServerName = server.Hostname()
		}
		cluster.Server = address
	}
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// RestartAPIServer kills the API server of the harness's own cluster and starts
// it again.
func (h *Harness) RestartAPIServer(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "-C", filepath.Join(h.Root, "e2e", "cluster"), "run", ".", "restart", "kube-apiserver")
	out, err := cmd.CombinedOutput()
	fmt.Fprintf(h.out, "$ e2e/cluster restart kube-apiserver\n%s", out)
	if err != nil {
		return fmt.Errorf("restarting the API server: %w\n%s", err, out)
	}
	return nil
}

// OwnCluster tells whether the cluster is the harness's, to be broken.
func (h *Harness) OwnCluster() bool { return os.Getenv("FMC_E2E_KUBECONFIG") == "" }

// Signal sends a signal to the command; kubectl has become the plugin by then.
func (b *Background) Signal(s os.Signal) error { return b.cmd.Process.Signal(s) }

// ExitCode waits until the command has ended by itself.
func (b *Background) ExitCode(within time.Duration) (int, error) {
	go func() {
		for range b.lines {
		}
	}()
	select {
	case err := <-b.done:
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			return 0, err
		}
		return b.cmd.ProcessState.ExitCode(), nil
	case <-time.After(within):
		return 0, fmt.Errorf("waiting for the end of %s: it went on for %s", b.cmd.Path, within)
	}
}
