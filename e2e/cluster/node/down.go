package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// grace is what a daemon has between TERM and KILL. Nothing of its data is
// kept, so there is nothing to wait for but politeness.
const grace = 3 * time.Second

// Down stops the node and removes all it made but the logs. The error names
// what it could not remove.
func (l Layout) Down(ctx context.Context) error {
	if err := l.clean(ctx); err != nil {
		return err
	}
	left, err := l.Leftovers(ctx)
	if err != nil {
		return fmt.Errorf("looking for what is left: %w", err)
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
	}
	return os.RemoveAll(l.path("before.json"))
}

// Purge removes the state folder, after Down.
func (l Layout) Purge() error { return os.RemoveAll(l.Dir) }

// clean stops and removes whatever there is of the node, be it whole, half
// started or killed. All steps are tried even where one fails.
func (l Layout) clean(ctx context.Context) error {
	if err := l.checkOwner(); err != nil {
		return err
	}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return err
	}
	l.stop(grace)
	killMembers(10 * time.Second)
	b := l.recall()
	var errs []error
	for _, step := range []struct {
		doing string
		do    func() error
	}{
		{"removing the shims' sockets", l.removeSockets},
		{"unmounting", l.unmount},
		{"removing links", func() error { return removeLinks(ctx) }},
		{"removing nftables tables", func() error { return b.removeTables(ctx) }},
		{"removing port mappings", func() error { return b.removePortMappings(ctx) }},
		{"removing cgroups", removeCgroups},
		{"removing files outside the state folder", func() error { return l.removeOutside(b) }},
		{"putting the sysctls back", b.restoreSysctls},
		{"removing the state", l.removeState},
	} {
		if err := step.do(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", step.doing, err))
		}
	}
	return errors.Join(errs...)
}

// recall reads what remember wrote; without it nothing is put back.
func (l Layout) recall() before {
	var b before
	if raw, err := os.ReadFile(l.path("before.json")); err == nil {
		_ = json.Unmarshal(raw, &b)
	}
	return b
}

// removeSockets removes those of the shims, which lie outside the state
// folder, where the bundles in it point to them.
func (l Layout) removeSockets() error {
	bundles, err := filepath.Glob(l.path("containerd/state/io.containerd.runtime.v2.task/*/*/bootstrap.json"))
	if err != nil {
		return err
	}
	for _, file := range bundles {
		var shim struct {
			Address string `json:"address"`
		}
		raw, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(raw, &shim) != nil {
			continue
		}
		path, ok := strings.CutPrefix(shim.Address, "unix:///run/containerd/s/")
		if ok && filepath.IsLocal(path) {
			if err := os.Remove("/run/containerd/s/" + path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// unmount unmounts everything below the state folder: the pods' root
// filesystems, volumes and network namespaces. The last mounted goes first.
func (l Layout) unmount() error {
	points, err := mountsBelow(l.Dir)
	if err != nil {
		return err
	}
	slices.Reverse(points)
	var errs []error
	for _, p := range points {
		if err := syscall.Unmount(p, syscall.MNT_DETACH|umountNoFollow); err != nil && !errors.Is(err, syscall.EINVAL) {
			errs = append(errs, fmt.Errorf("%s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

const umountNoFollow = 8 // UMOUNT_NOFOLLOW of umount(2): a symbolic link planted in a volume leads nowhere

// mountsBelow lists the mount points below dir in the order in which they were
// mounted.
func mountsBelow(dir string) ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(b), dir), nil
}

func parseMounts(mountinfo, dir string) []string {
	// The kernel writes these four bytes as octal, for fields end at spaces.
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if p := unescape.Replace(fields[4]); strings.HasPrefix(p, dir+"/") {
			points = append(points, p)
		}
	}
	return points
}

// removeState removes the node's files. The logs stay for whoever wants to
// know what happened, and before.json until Down has looked that nothing else
// is left.
func (l Layout) removeState() error {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return err
	}
	points, err := mountsBelow(l.Dir)
	if err != nil {
		return err
	}
	// What is still mounted may hold files that are not the node's.
	if len(points) > 0 {
		return fmt.Errorf("still mounted: %s", strings.Join(points, " "))
	}
	var errs []error
	for _, e := range entries {
		if !slices.Contains([]string{"logs", "before.json", "lock"}, e.Name()) {
			errs = append(errs, os.RemoveAll(l.path(e.Name())))
		}
	}
	return errors.Join(errs...)
}
