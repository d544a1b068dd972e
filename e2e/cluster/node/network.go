package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// bridgeMAC stays the same while pods come and go; by itself a bridge takes
// the lowest of its ports', and pods would hold a stale address of their
// gateway. The second bit says that it is locally administered.
const bridgeMAC = "02:fc:0a:49:00:01"

// sysctls are the kernel's settings that the node needs or its daemons change,
// with the value to set; where that is empty, a daemon sets it. All are put
// back by "down".
var sysctls = map[string]string{
	"net/ipv4/ip_forward": "1",
	// Traffic from pod to pod through a service crosses one bridge twice, and
	// must pass nftables on the way back.
	"net/bridge/bridge-nf-call-iptables": "1",
	// Each pod's log, each mounted volume and each kubelet watch takes one.
	"fs/inotify/max_user_instances": "8192",
	"vm/overcommit_memory":          "",
	"vm/panic_on_oom":               "",
	"kernel/panic":                  "",
	"kernel/panic_on_oops":          "",
	"kernel/keys/root_maxkeys":      "",
	"kernel/keys/root_maxbytes":     "",
}

// before is what the machine was like before the first start, so that "down"
// can put it back.
type before struct {
	Sysctls map[string]string `json:"sysctls"`
	Tables  []string          `json:"nftablesTables"` // such as "ip nat"
	Folders []string          `json:"missingFolders"` // that a daemon makes outside the state folder
	// HadPortMappings tells that somebody's CNI plugin portmap was at work.
	HadPortMappings bool `json:"hadPortMappings"`
}

// outsideFolders are those that the daemons make outside the state folder,
// parents first. Nothing configures them.
var outsideFolders = []string{
	"/run/containerd",
	"/run/containerd/s", // shims' sockets
	"/var/log/containers",
	"/var/lib/cni",
	"/var/lib/cni/results",
	"/var/lib/kubelet",
	deviceSockets,
}

// deviceSockets is where the kubelet listens for device plugins, wherever its
// own folder is.
const deviceSockets = "/var/lib/kubelet/device-plugins"

// remember writes down what the machine is like, unless an earlier start that
// was never taken down did so.
func (l Layout) remember(ctx context.Context) error {
	path := l.path("before.json")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	b := before{Sysctls: map[string]string{}}
	for name := range sysctls {
		if v, err := os.ReadFile(filepath.Join("/proc/sys", name)); err == nil {
			b.Sysctls[name] = strings.TrimSpace(string(v))
		}
	}
	var err error
	if b.Tables, err = tables(ctx); err != nil {
		return err
	}
	rules, err := allPortMappings(ctx)
	if err != nil {
		return err
	}
	b.HadPortMappings = len(rules) > 0
	for _, dir := range outsideFolders {
		if _, err := os.Stat(dir); err != nil {
			b.Folders = append(b.Folders, dir)
		}
	}
	out, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(out, '\n'))
}

// tables lists the machine's nftables tables as "family name".
func tables(ctx context.Context) ([]string, error) {
	out, err := output(ctx, "nft", "list", "tables")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(out) {
		if t, ok := strings.CutPrefix(strings.TrimSpace(line), "table "); ok {
			all = append(all, t)
		}
	}
	return all, nil
}

// makeNetwork makes the bridge, the masquerading table, and sets the sysctls.
func (l Layout) makeNetwork(ctx context.Context) error {
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		// Where it is built into the kernel there is no module to load.
		if _, err := output(ctx, "modprobe", "br_netfilter"); err != nil {
			return err
		}
	}
	for name, value := range sysctls {
		path := filepath.Join("/proc/sys", name)
		if value == "" || atLeast(path, value) {
			continue
		}
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("setting the sysctl %s: %w", name, err)
		}
	}
	return makeBridge(ctx, l.config("masquerade.nft"))
}

// makeBridge makes the bridge, and the table that is in the file.
func makeBridge(ctx context.Context, table string) error {
	steps := []string{
		"ip link add " + Bridge + " address " + bridgeMAC + " type bridge",
		"ip address add " + NodeAddress + bits(PodSubnet) + " dev " + Bridge,
		"ip link set " + Bridge + " up",
		"nft -f " + table,
	}
	if podSubnet6() != "" {
		// Nobody else can have the address, and nobody waits for the check.
		steps = append(steps, "ip address add "+NodeAddress6+bits(PodSubnet6)+" dev "+Bridge+" nodad")
	}
	for _, args := range steps {
		if _, err := output(ctx, strings.Fields(args)...); err != nil {
			return err
		}
	}
	return nil
}

// bits returns the length of the subnet's prefix, with the slash.
func bits(subnet string) string { return subnet[strings.IndexByte(subnet, '/'):] }

// atLeast tells whether the sysctl is no lower than value already.
func atLeast(path, value string) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return false
	}
	want, err := strconv.Atoi(value)
	return err == nil && have >= want
}

// output runs a program and returns what it printed; an error says what was
// run and what it printed to the error stream.
func output(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}
