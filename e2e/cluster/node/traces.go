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
)

// isProxyTable tells whether the nftables table is kube-proxy's, whose name
// cannot be chosen.
func isProxyTable(table string) bool { return table == "ip kube-proxy" || table == "ip6 kube-proxy" }

// isOurs tells whether the node made the table: it carries the node's name, or
// it came with the node's kube-proxy.
func (b before) isOurs(table string) bool {
	return table == "ip "+Name || table == "ip6 "+Name || (b.Sysctls != nil && isProxyTable(table) && !slices.Contains(b.Tables, table))
}

func (b before) removeTables(ctx context.Context) error {
	have, err := tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range have {
		if b.isOurs(t) {
			if _, err := output(ctx, append([]string{"nft", "delete", "table"}, strings.Fields(t)...)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// link is what `ip -json link` says of a network device.
type link struct {
	Name   string `json:"ifname"`
	Master string `json:"master"`
}

// ownLinks lists the bridge and the devices that are its ports, ports first.
func ownLinks(ctx context.Context) ([]string, error) {
	out, err := output(ctx, "ip", "-json", "link", "show")
	if err != nil {
		return nil, err
	}
	var links []link
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return nil, fmt.Errorf("parsing the list of links: %w", err)
	}
	var own []string
	for _, l := range links {
		switch {
		case l.Master == Bridge:
			own = append([]string{l.Name}, own...)
		case l.Name == Bridge:
			own = append(own, l.Name)
		}
	}
	return own, nil
}

func removeLinks(ctx context.Context) error {
	own, err := ownLinks(ctx)
	if err != nil {
		return err
	}
	for _, name := range own {
		_, err := output(ctx, "ip", "link", "delete", name)
		// A pod's device goes by itself when the kernel gets round to removing
		// the pod's network namespace.
		if err != nil && exists("/sys/class/net/"+name) {
			return err
		}
	}
	return nil
}

// removeOutside removes the traces of the node's own containers in the folders
// that daemons make outside the state folder, and the folders that were not
// there before and are empty now.
func (l Layout) removeOutside(b before) error {
	for _, path := range l.outsideFiles(b) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	dirs := slices.Clone(b.Folders)
	slices.Reverse(dirs)
	for _, dir := range dirs {
		// One that somebody else uses by now is not empty, and stays.
		_ = os.Remove(dir)
	}
	return nil
}

// outsideFiles lists the CNI results of the node's network, the links to its
// pods' logs and, where there was no kubelet before, its socket.
func (l Layout) outsideFiles(b before) []string {
	own, _ := filepath.Glob("/var/lib/cni/results/" + Name + "-*")
	logs, _ := filepath.Glob("/var/log/containers/*")
	for _, path := range logs {
		if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, l.Dir+"/") {
			own = append(own, path)
		}
	}
	if socket := deviceSockets + "/kubelet.sock"; slices.Contains(b.Folders, deviceSockets) && exists(socket) {
		own = append(own, socket)
	}
	return own
}

func (b before) restoreSysctls() error {
	var errs []error
	for name, value := range b.Sysctls {
		path := filepath.Join("/proc/sys", name)
		if now, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(now)) == value {
			continue
		}
		errs = append(errs, os.WriteFile(path, []byte(value), 0o644))
	}
	return errors.Join(errs...)
}

// Leftovers lists what the node made and what is still there.
func (l Layout) Leftovers(ctx context.Context) ([]string, error) {
	var left []string
	for _, pid := range members() {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		left = append(left, fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(comm))))
	}
	points, err := mountsBelow(l.Dir)
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		left = append(left, "mount "+p)
	}
	links, err := ownLinks(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range links {
		left = append(left, "link "+name)
	}
	have, err := tables(ctx)
	if err != nil {
		return nil, err
	}
	b := l.recall()
	for _, t := range have {
		if b.isOurs(t) {
			left = append(left, "nftables table "+t)
		}
	}
	rules, err := allPortMappings(ctx)
	if err != nil {
		return nil, err
	}
	if !b.HadPortMappings {
		left = append(left, rules...)
	}
	dirs, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if own := filepath.Join(dir, Name); exists(own) {
			left = append(left, "cgroup "+own)
		}
	}
	for _, path := range l.outsideFiles(b) {
		left = append(left, "file "+path)
	}
	for _, dir := range b.Folders {
		if exists(dir) {
			left = append(left, "folder "+dir)
		}
	}
	return left, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
