package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/formicarium/formicarium/e2e/cluster/build"
	"github.com/formicarium/formicarium/e2e/cluster/image"
)

func (h *harness) build(ctx context.Context, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	cache, err := h.cache()
	if err != nil {
		return err
	}
	for _, p := range build.Programs {
		dir, err := cache.Build(ctx, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(h.stdout, "%s %s: %s\n", p.Name, p.Version, dir)
	}
	return nil
}

func (h *harness) up(ctx context.Context, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	if h.kubeconfig != "" {
		return h.upForeign(ctx)
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	l := h.layout()
	sick := l.Healthy(ctx)
	if sick == nil {
		fmt.Fprintln(h.stderr, "the cluster is up")
		fmt.Fprintf(h.stdout, "KUBECONFIG=%s\n", l.Kubeconfig())
		return nil
	}
	if _, err := os.Stat(l.Kubeconfig()); err == nil {
		fmt.Fprintf(h.stderr, "the cluster is not healthy, and is started anew: %v\n", sick)
	}
	cache, err := h.cache()
	if err != nil {
		return err
	}
	if l.Binaries, err = binaries(ctx, cache); err != nil {
		return err
	}
	builder := image.Builder{Cache: cache, Tag: ownTag, Log: h.stderr}
	var archives []image.Archive
	for _, d := range image.Own {
		a, err := builder.Build(ctx, d)
		if err != nil {
			return err
		}
		archives = append(archives, a)
	}
	began := time.Now()
	load := func(ctx context.Context) error { return h.store().Load(ctx, archives...) }
	if err := l.Up(ctx, load, h.stderr); err != nil {
		return err
	}
	fmt.Fprintf(h.stderr, "the cluster came up in %s\n", time.Since(began).Round(100*time.Millisecond))
	fmt.Fprintf(h.stdout, "KUBECONFIG=%s\n", l.Kubeconfig())
	return nil
}

// binaries builds what the node runs, and maps each program's name to its
// file.
func binaries(ctx context.Context, cache build.Cache) (map[string]string, error) {
	kubernetes, err := cache.Build(ctx, build.Kubernetes)
	if err != nil {
		return nil, err
	}
	containerd, err := cache.Build(ctx, build.Containerd)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"} {
		files[name] = filepath.Join(kubernetes, "kubernetes")
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		files[name] = filepath.Join(containerd, name)
	}
	return files, nil
}

// upForeign checks that the cluster of the user's choice answers, and changes
// nothing in it.
func (h *harness) upForeign(ctx context.Context) error {
	kubectl, err := h.kubectl(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, kubectl, "--kubeconfig", h.kubeconfig, "--request-timeout", "10s", "get", "--raw", "/readyz")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("asking the cluster of FMC_E2E_KUBECONFIG whether it is ready: %w: %s", err, out)
	}
	fmt.Fprintf(h.stdout, "KUBECONFIG=%s\n", h.kubeconfig)
	return nil
}

// kubectl is the user's own or, where there is none, the cluster's.
func (h *harness) kubectl(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("kubectl"); err == nil {
		return path, nil
	}
	cache, err := h.cache()
	if err != nil {
		return "", err
	}
	return kubectlIn(ctx, cache)
}

// kubectlIn makes a folder in the cache that holds kubectl alone.
func kubectlIn(ctx context.Context, cache build.Cache) (string, error) {
	dir, err := cache.Build(ctx, build.Kubernetes)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bin", "kubectl")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	if err := os.Symlink("../kubernetes", path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return path, nil
}

func (h *harness) down(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("down", flag.ContinueOnError)
	flags.SetOutput(h.stderr)
	purge := flags.Bool("purge", false, "remove the logs too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := none(flags.Args()); err != nil {
		return err
	}
	if h.kubeconfig != "" {
		fmt.Fprintln(h.stderr, "FMC_E2E_KUBECONFIG names a cluster that is not ours to stop: nothing done")
		return nil
	}
	// Where the folder was removed by hand, what ran out of it may still run.
	if _, err := os.Stat(h.stateDir); errors.Is(err, fs.ErrNotExist) {
		*purge = true
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	l := h.layout()
	if err := l.Down(ctx); err != nil {
		return err
	}
	fmt.Fprintln(h.stderr, "the cluster is down, and nothing is left of it")
	if *purge {
		return l.Purge()
	}
	return nil
}

func (h *harness) env(ctx context.Context, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	cache, err := h.cache()
	if err != nil {
		return err
	}
	kubectl, err := kubectlIn(ctx, cache)
	if err != nil {
		return err
	}
	kubeconfig := h.kubeconfig
	if kubeconfig == "" {
		kubeconfig = h.layout().Kubeconfig()
	}
	fmt.Fprintf(h.stdout, "export KUBECONFIG=%s\nexport PATH=%s:\"$PATH\"\n", quote(kubeconfig), quote(filepath.Dir(kubectl)))
	return nil
}
