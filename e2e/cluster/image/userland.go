package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/formicarium/formicarium/e2e/cluster/build"
)

// bootstrapFlags make a userland small: Debian's essential packages, without
// what only people at a terminal read.
var bootstrapFlags = []string{
	"--mode=root",
	"--variant=essential",
	"--format=tar",
	"--skip=output/dev", // the runtime brings its own devices
	// Without it Debian 12 installs a converter, and the whole of perl with it.
	"--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
	`--aptopt=Apt::Install-Recommends "false"`,
	"--dpkgopt=path-exclude=/usr/share/bash-completion/*",
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-exclude=/usr/share/info/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/lintian/*",
	"--dpkgopt=path-exclude=/usr/share/man/*",
	"--dpkgopt=force-unsafe-io", // a userland that a power cut spoils is built again
	// Java's installation writes into it.
	`--essential-hook=mkdir -p "$1/usr/share/man/man1"`,
	`--customize-hook=rm -rf "$1/etc/apt/sources.list" "$1/var/lib/apt/lists" "$1/var/cache/debconf"`,
}

// essential is the userland that every other is a layer on.
var essential = []string{"base-files"}

// userlandKey names the userland with those packages. Which versions they have
// is left to the day on which it is first built.
func userlandKey(packages []string) string {
	if len(packages) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(packages))
	h := sha256.Sum256(fmt.Appendf(nil, "%s\n%q\n%q", suite(), sorted, bootstrapFlags))
	return suite() + "-" + hex.EncodeToString(h[:])[:16]
}

// suite is the code name of this machine's Debian.
func suite() string {
	b, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "stable"
}

// userland returns the layers of a userland with the packages, after building
// them if they are not in the cache: the essential packages, which all images
// share, and what the others add.
func (b Builder) userland(ctx context.Context, packages []string) ([]string, error) {
	base, err := b.bootstrapped(ctx, essential, bootstrap)
	if err != nil || slices.Equal(packages, essential) {
		return []string{base}, err
	}
	top, err := b.bootstrapped(ctx, packages, func(ctx context.Context, packages []string, out string) error {
		full := out + ".full"
		defer os.Remove(full)
		if err := bootstrap(ctx, packages, full); err != nil {
			return err
		}
		return writeDelta(base, full, out)
	})
	return []string{base, top}, err
}

// bootstrapped returns the layer of that userland, which fill writes if it is
// not in the cache.
func (b Builder) bootstrapped(ctx context.Context, packages []string, fill func(context.Context, []string, string) error) (string, error) {
	dir := filepath.Join(b.Cache.Dir, "userlands", userlandKey(packages))
	layer := filepath.Join(dir, "layer.tar")
	if _, err := os.Stat(layer); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return layer, err
	}
	began := time.Now()
	fmt.Fprintf(b.Log, "building a userland with %s ...\n", strings.Join(packages, " "))
	err := build.Atomically(dir, func(tmp string) error { return fill(ctx, packages, filepath.Join(tmp, "layer.tar")) })
	if err != nil {
		return "", fmt.Errorf("building a userland: %w", err)
	}
	fmt.Fprintf(b.Log, "built a userland with %s in %s\n", strings.Join(packages, " "), time.Since(began).Round(time.Second))
	return layer, nil
}

// bootstrap writes a new userland to the tar file out.
func bootstrap(ctx context.Context, packages []string, out string) error {
	sources, err := debianSources(ctx)
	if err != nil {
		return err
	}
	args := append(slices.Clone(bootstrapFlags), "--include="+strings.Join(packages, ","), suite(), out, "-")
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	cmd.Stdin = strings.NewReader(sources)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=0", "LC_ALL=C.UTF-8")
	for name, option := range map[string]string{"http_proxy": "Acquire::http::Proxy", "https_proxy": "Acquire::https::Proxy"} {
		// The userland's apt does not read this machine's settings.
		if v, err := exec.CommandContext(ctx, "apt-config", "shell", "V", option+"/i").Output(); err == nil {
			if _, value, ok := strings.Cut(strings.TrimSpace(string(v)), "="); ok {
				cmd.Env = append(cmd.Env, name+"="+strings.Trim(value, "'"))
			}
		}
	}
	// It works in a folder with mounts, which it removes if it is let.
	cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Dir(out))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w\n%s", cmd, err, said.String())
	}
	return nil
}

// debianSources lists the sources of Debian that this machine's apt is
// configured with, as lines of a sources.list; those of others are left out.
func debianSources(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages", "Origin: Debian").Output()
	if err != nil {
		return "", fmt.Errorf("asking apt for its sources: %w", err)
	}
	if len(bytes.TrimSpace(out)) == 0 {
		return "", errors.New("asking apt for its sources: it has none of Debian; run the command deps first")
	}
	return string(out), nil
}
