package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// packages are Debian's that the node, the images and the project's tests use.
var packages = []string{
	"ca-certificates",
	"conntrack",
	"containernetworking-plugins",
	"curl",
	"gcc", // the race detector links with it
	"git",
	"iproute2",
	"iptables",
	"kmod",
	"libc6-dev",
	"mariadb-client-core",
	"mariadb-server-core", // without what starts it
	"mmdebstrap",
	"mount",
	"nftables",
	"nginx",
	"nodejs", // chambers' scripts are tested with it, and with Python
	"procps",
	"python3",
	"python3-venv",
	"redis-server",
	"runc",
	"util-linux",
}

// daemons are those of the packages that would start one, at once and with the
// machine. The tests start their own; this machine's are none of their business.
var daemons = []string{"nginx", "redis-server"}

// deps installs those packages that are missing, and does nothing where none
// is.
func (h *harness) deps(ctx context.Context, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("installing packages takes apt-get, which this machine has not: install by its own means what provides " + strings.Join(packages, ", "))
	}
	missing := missingPackages(ctx)
	listed, err := exec.CommandContext(ctx, "apt-get", "indextargets", "Created-By: Packages", "Origin: Debian").Output()
	if err != nil {
		return fmt.Errorf("asking apt for its sources: %w", err)
	}
	// The images' userlands are built from those lists, too.
	if len(missing) == 0 && len(listed) > 0 {
		fmt.Fprintln(h.stderr, "every package is installed")
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("installing packages takes root; missing: %s", strings.Join(missing, " "))
	}
	fmt.Fprintf(h.stderr, "installing: %s\n", strings.Join(missing, " "))
	// A mirror that fails once mostly answers the next time.
	if err = h.install(ctx, missing); err != nil {
		fmt.Fprintf(h.stderr, "trying once more after: %v\n", err)
		err = h.install(ctx, missing)
	}
	return err
}

// missingPackages asks dpkg. A package that it has never heard of makes it
// fail, but not silent about the others.
func missingPackages(ctx context.Context) []string {
	args := append([]string{"--show", "--showformat", "${Package} ${db:Status-Status}\n"}, packages...)
	out, _ := exec.CommandContext(ctx, "dpkg-query", args...).Output()
	return notInstalled(packages, string(out))
}

// notInstalled lists those of want that the lines "NAME STATUS" do not call
// installed.
func notInstalled(want []string, status string) []string {
	have := map[string]bool{}
	for line := range strings.Lines(status) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), " installed"); ok {
			have[name] = true
		}
	}
	var missing []string
	for _, name := range want {
		if !have[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

func (h *harness) install(ctx context.Context, missing []string) (err error) {
	undo, err := keepStopped(policyFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, undo()) }()
	const wait = "DPkg::Lock::Timeout=300" // seconds that another run of apt may take
	steps := [][]string{{"apt-get", "-o", wait, "update"}}
	if len(missing) > 0 {
		steps = append(steps, append([]string{"apt-get", "-o", wait, "install", "--yes", "--no-install-recommends"}, missing...))
	}
	for _, name := range daemons {
		if slices.Contains(missing, name) { // one that was there before may be in use
			steps = append(steps, []string{"update-rc.d", name, "disable"})
		}
	}
	for _, step := range steps {
		cmd := exec.CommandContext(ctx, step[0], step[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running %s: %w\n%s", cmd, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// policyFile is asked by a package's scripts before they start a daemon.
const policyFile = "/usr/sbin/policy-rc.d"

// policy forbids it. A file with other content is the machine's own.
const policy = "#!/bin/sh\n# Written by Formicarium's tests while they install packages; to be removed.\nexit 101\n"

// keepStopped has no package start a daemon until undo, unless the machine has a
// policy of its own.
func keepStopped(file string) (undo func() error, err error) {
	content, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && string(content) == policy: // left by a run that was killed
		if err := os.WriteFile(file, []byte(policy), 0o755); err != nil {
			return nil, fmt.Errorf("keeping daemons from being started: %w", err)
		}
		return func() error { return os.Remove(file) }, nil
	case err != nil:
		return nil, fmt.Errorf("looking for the machine's policy on daemons: %w", err)
	}
	return func() error { return nil }, nil
}
