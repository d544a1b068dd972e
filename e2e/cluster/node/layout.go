// Package node runs the daemons of a one-node Kubernetes on this machine:
//
//	l := node.Layout{Dir: stateDir, Binaries: binaries, Images: images}
//	err := l.Up(ctx, loadImages, log) // ready, or everything stopped again
//	err := l.Down(ctx)                // nothing left, or an error that names it
//
// All that it makes on the machine either lives below its state folder or
// carries a name of its own, so that it can be found and removed without
// touching anybody else's.
package node

import "path/filepath"

// Names and numbers of what the node makes on the machine. They differ from
// the defaults of other distributions, so that a cluster of the user's own can
// run beside it.
const (
	Name     = "fmc-e2e"  // cluster, cgroup, nftables table, CNI network
	NodeName = "fmc-node" // Node object

	// Bridge connects the pods. Its address is also the node's: pods reach it
	// as their gateway, and no other machine does.
	Bridge      = "fmc-br0"
	NodeAddress = "10.73.0.1"
	PodSubnet   = "10.73.0.0/16"
	// PodRangeStart leaves what is below to the node.
	PodRangeStart = "10.73.1.1"
	// Pods have an IPv6 address as well, for traffic among them. Services have
	// none: it would take IPv6 forwarding, with which the machine would no
	// longer heed its router's advertisements.
	PodSubnet6     = "fdfc:e2e:49::/64"
	NodeAddress6   = "fdfc:e2e:49::1"
	ServiceSubnet  = "10.96.0.0/16"
	ServiceAddress = "10.96.0.1" // of the Service default/kubernetes
	DNSAddress     = "10.96.0.10"
	ClusterDomain  = "cluster.local"

	// On NodeAddress.
	apiserverPort = 16443
	kubeletPort   = 20250
	// On loopback.
	etcdPort          = 12379
	etcdPeerPort      = 12380
	controllersPort   = 20257
	schedulerPort     = 20259
	kubeletHealthPort = 20248
	proxyHealthPort   = 20256
	proxyMetricsPort  = 20249
)

// Layout says where the node keeps its things.
type Layout struct {
	Dir      string // state folder, on a real filesystem (overlayfs)
	Images   Images
	Binaries map[string]string // name to path: the daemons, kubectl, ctr and the shim
}

// Images are the names of those that the node itself runs.
type Images struct {
	Pause   string
	CoreDNS string
}

func (l Layout) path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir}, elem...)...)
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (l Layout) Kubeconfig() string { return l.path("kubeconfig") }

// Bin is a folder with kubectl and the daemons under their own names.
func (l Layout) Bin() string { return l.path("bin") }

// Socket is containerd's.
func (l Layout) Socket() string { return l.path("run", "containerd.sock") }

func (l Layout) log(daemon string) string     { return l.path("logs", daemon+".log") }
func (l Layout) pidFile(daemon string) string { return l.path("run", daemon+".pid") }
func (l Layout) pki(file string) string       { return l.path("pki", file) }
func (l Layout) config(file string) string    { return l.path("etc", file) }
