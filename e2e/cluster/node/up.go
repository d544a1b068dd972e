package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// patience bounds the start of one daemon. On an idle machine the slowest, the
// API server, takes 5 s; two busy cores have needed 40.
const patience = 3 * time.Minute

// Up starts the node and waits until it is ready. What an earlier, killed one
// left is removed first, its data included. load is called as soon as images
// can be loaded. Where Up fails, everything is stopped again but the logs stay.
func (l Layout) Up(ctx context.Context, load func(context.Context) error, log io.Writer) error {
	if err := l.check(ctx); err != nil {
		return err
	}
	if err := l.clean(ctx); err != nil {
		return fmt.Errorf("removing what is left of an earlier start: %w", err)
	}
	if err := l.bringUp(ctx, load, log); err != nil {
		// The context may be over, and this must be done all the same.
		if left := l.clean(context.WithoutCancel(ctx)); left != nil {
			return errors.Join(err, fmt.Errorf("cleaning up after that: %w", left))
		}
		return err
	}
	return nil
}

// check finds what would make the start fail later and less clearly.
func (l Layout) check(ctx context.Context) error {
	var missing []string
	for _, name := range []string{"runc", "nft", "iptables", "ip", "mount", filepath.Join(cniPlugins, "bridge")} {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not installed: %s; run the command deps first", strings.Join(missing, ", "))
	}
	if err := l.checkOwner(); err != nil {
		return err
	}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return err
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(l.Dir, &fs); err != nil {
		return err
	}
	const overlayfs = 0x794c7630 // OVERLAYFS_SUPER_MAGIC in linux/magic.h
	if fs.Type == overlayfs {
		return fmt.Errorf("%s lies on an overlay filesystem, on which containers cannot be layered; name another folder in FMC_CLUSTER_DIR", l.Dir)
	}
	if _, err := os.Stat(l.path("before.json")); err == nil {
		return nil
	}
	have, err := tables(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(have, isProxyTable) {
		return errors.New("this machine has a kube-proxy of another cluster (nft list table ip kube-proxy), which would fight with this one's; name that cluster's kubeconfig in FMC_E2E_KUBECONFIG to use it")
	}
	return nil
}

func (l Layout) bringUp(ctx context.Context, load func(context.Context) error, log io.Writer) error {
	for _, step := range []struct {
		doing string
		do    func() error
	}{
		{"recording the machine's state", func() error { return l.remember(ctx) }},
		{"linking the programs", l.linkBinaries},
		{"making the certificates", l.writePKI},
		{"writing the configuration", l.writeConfigs},
		{"making the cgroups", makeCgroups},
		{"making the network", func() error { return l.makeNetwork(ctx) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.doing, err)
		}
	}
	if err := l.startDaemons(ctx, load, log); err != nil {
		return err
	}
	return l.startAddons(ctx, log)
}

// linkBinaries gives each program its own name in one folder, so that the list
// of processes says which is which.
func (l Layout) linkBinaries() error {
	if err := os.MkdirAll(l.Bin(), 0o755); err != nil {
		return err
	}
	for name, target := range l.Binaries {
		if err := os.Symlink(target, filepath.Join(l.Bin(), name)); err != nil {
			return err
		}
	}
	return nil
}

// startDaemons starts them all. containerd, which needs nobody, loads its
// images while etcd and the API server come up; the others, which would only
// ask in vain until then, follow.
func (l Layout) startDaemons(ctx context.Context, load func(context.Context) error, log io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not ready after %s", patience))
	defer cancel()
	first, firstCtx := errgroup.WithContext(ctx)
	first.Go(func() error {
		if err := l.startAndReport(firstCtx, containerd, log); err != nil {
			return err
		}
		return load(firstCtx)
	})
	first.Go(func() error {
		if err := l.startAndReport(firstCtx, etcd, log); err != nil {
			return err
		}
		return l.startAndReport(firstCtx, apiserver, log)
	})
	if err := first.Wait(); err != nil {
		return err
	}
	rest, restCtx := errgroup.WithContext(ctx)
	for _, name := range []string{controllers, scheduler, kubelet, proxy} {
		rest.Go(func() error { return l.startAndReport(restCtx, name, log) })
	}
	return rest.Wait()
}

func (l Layout) startAndReport(ctx context.Context, name string, log io.Writer) error {
	began := time.Now()
	if err := l.start(ctx, name, l.ready(name)); err != nil {
		return err
	}
	fmt.Fprintf(log, "%s runs (%s)\n", name, time.Since(began).Round(10*time.Millisecond))
	return nil
}

// startAddons applies CoreDNS and waits for it and for the node.
func (l Layout) startAddons(ctx context.Context, log io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not ready after %s", patience))
	defer cancel()
	began := time.Now()
	kubectl := []string{filepath.Join(l.Bin(), "kubectl"), "--kubeconfig", l.Kubeconfig(), "apply", "--server-side", "--filename", l.config("addons.yaml")}
	for {
		// The namespace kube-system follows the API server's readiness.
		_, err := output(ctx, kubectl...)
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("applying CoreDNS: %w", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
	for _, wait := range []struct {
		what  string
		ready func(context.Context) error
	}{
		{"the node", l.nodeReady()},
		{"DNS", l.dnsAvailable()},
	} {
		if err := l.poll(ctx, wait.ready); err != nil {
			return fmt.Errorf("waiting for %s: %w", wait.what, err)
		}
		fmt.Fprintf(log, "%s is ready (%s)\n", wait.what, time.Since(began).Round(10*time.Millisecond))
	}
	return nil
}

// poll asks until ready succeeds, the context is over or a daemon ends: some
// answer for a while before they find that they cannot go on.
func (l Layout) poll(ctx context.Context, ready func(context.Context) error) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		for _, name := range daemonNames() {
			if _, ok := l.running(name); !ok {
				return fmt.Errorf("%s has ended\n%s", name, l.logTail(name))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (last: %w)\n%s", context.Cause(ctx), err, l.logTail(kubelet))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
