package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroupRoot is where the kernel's cgroups are mounted: version 2 there, or
// one folder for each hierarchy of version 1.
const cgroupRoot = "/sys/fs/cgroup"

// membership is the hierarchy whose cgroups tell which processes are the
// node's: on version 1 it is that of pids, which the kubelet needs anyway.
func membership() string {
	if unified() {
		return filepath.Join(cgroupRoot, Name)
	}
	return filepath.Join(cgroupRoot, "pids", Name)
}

// daemonProcs is the file that moves a process into the daemons' cgroup.
func daemonProcs() string { return filepath.Join(membership(), "node", "cgroup.procs") }

func unified() bool {
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil
}

// hierarchies are the folders in which the node has a cgroup.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		// Some distributions link cpu and cpuacct to the folder of both.
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	return dirs, nil
}

// makeCgroups makes the node's cgroup in each hierarchy.
func makeCgroups() error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		own := filepath.Join(dir, Name)
		if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		// A new cpuset has no processors, and takes no process until it has.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if b, err := os.ReadFile(filepath.Join(dir, file)); err == nil && !unified() {
				if err := os.WriteFile(filepath.Join(own, file), b, 0o644); err != nil {
					return err
				}
			}
		}
	}
	if unified() {
		if err := delegate(cgroupRoot, filepath.Join(cgroupRoot, Name)); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(membership(), "node"), 0o755)
}

// delegate lets the children of parent, then those of child, use every
// controller that parent has.
func delegate(parent, child string) error {
	b, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, dir := range []string{parent, child} {
		for _, c := range strings.Fields(string(b)) {
			err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
			// The kubelet works without the rarer ones.
			if err != nil && slices.Contains([]string{"cpu", "cpuset", "memory", "pids"}, c) {
				return fmt.Errorf("enabling the cgroup controller %s in %s: %w", c, dir, err)
			}
		}
	}
	return nil
}

// members returns the ids of all processes in the node's cgroups: daemons,
// shims and the pods' processes; or of those in the cgroup below.
func members(below ...string) []int {
	var pids []int
	_ = filepath.WalkDir(filepath.Join(append([]string{membership()}, below...)...), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "cgroup.procs" {
			return nil
		}
		b, _ := os.ReadFile(path)
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// checkOwner makes sure that the daemons which run under the node's names, if
// any, are those of this state folder: names are one per machine, and what
// belongs to another folder must be taken down from there.
func (l Layout) checkOwner() error {
	daemons := members("node")
	var cwd string
	for _, pid := range daemons {
		var err error
		if cwd, err = os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil {
			continue
		}
		// Of a folder that was removed since, the kernel says so after its name.
		if path := strings.TrimSuffix(cwd, " (deleted)"); path == l.Dir || strings.HasPrefix(path, l.Dir+"/") {
			return nil
		}
	}
	if len(daemons) == 0 {
		return nil
	}
	return fmt.Errorf("a cluster with another state folder runs on this machine, in %s: take it down with FMC_CLUSTER_DIR set to that", cwd)
}

// killMembers ends every process in the node's cgroups. Only what the node
// started is in there, so no process of anybody else's can be hit.
func killMembers(within time.Duration) {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		pids := members()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			if p, err := os.FindProcess(pid); err == nil && slices.Contains(members(), pid) {
				_ = p.Signal(syscall.SIGKILL)
			}
		}
	}
}

// removeCgroups removes the node's cgroups, which must be empty of processes.
func removeCgroups() error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, removeTree(filepath.Join(dir, Name)))
	}
	return errors.Join(errs...)
}

// removeTree removes a cgroup and those below it. Their files cannot be
// removed, and need not be.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	// A cgroup stays busy for a moment after its last process has gone.
	for range 100 {
		if err = os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("removing the cgroup: %w", err)
}
