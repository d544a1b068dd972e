package node

import (
	"fmt"
	"path/filepath"
	"strconv"
)

// cniPlugins is where Debian's package containernetworking-plugins puts them.
const cniPlugins = "/usr/lib/cni"

// daemon is one program of the node.
type daemon struct {
	name   string
	binary string   // a path, whose last element the multi-call binary goes by
	args   []string // without the name
}

// Names of the daemons, in the order in which they start.
const (
	etcd        = "etcd"
	containerd  = "containerd"
	apiserver   = "kube-apiserver"
	controllers = "kube-controller-manager"
	scheduler   = "kube-scheduler"
	kubelet     = "kubelet"
	proxy       = "kube-proxy"
)

func daemonNames() []string {
	return []string{etcd, containerd, apiserver, controllers, scheduler, kubelet, proxy}
}

// daemon returns how the one of that name is started.
func (l Layout) daemon(name string) daemon {
	args := map[string]func() []string{
		etcd:        l.etcdArgs,
		containerd:  func() []string { return []string{"--config", l.config("containerd.toml"), "--log-level", "info"} },
		apiserver:   l.apiserverArgs,
		controllers: l.controllersArgs,
		scheduler:   l.schedulerArgs,
		kubelet:     l.kubeletArgs,
		proxy:       func() []string { return []string{"--config=" + l.config("kube-proxy.yaml")} },
	}[name]
	return daemon{name: name, binary: filepath.Join(l.Bin(), name), args: args()}
}

func (l Layout) etcdArgs() []string {
	client := fmt.Sprintf("https://127.0.0.1:%d", etcdPort)
	peer := fmt.Sprintf("https://127.0.0.1:%d", etcdPeerPort)
	return []string{
		"--name=" + Name,
		"--data-dir=" + l.path("etcd"),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=" + Name + "=" + peer,
		"--cert-file=" + l.pki("etcd.crt"),
		"--key-file=" + l.pki("etcd.key"),
		"--client-cert-auth=true",
		"--trusted-ca-file=" + l.pki("etcd-ca.crt"),
		"--peer-cert-file=" + l.pki("etcd.crt"),
		"--peer-key-file=" + l.pki("etcd.key"),
		"--peer-client-cert-auth=true",
		"--peer-trusted-ca-file=" + l.pki("etcd-ca.crt"),
		// A cluster for tests does not outlive a power cut.
		"--unsafe-no-fsync=true",
		"--log-level=warn",
	}
}

func (l Layout) apiserverArgs() []string {
	return []string{
		"--advertise-address=" + NodeAddress,
		"--bind-address=" + NodeAddress,
		"--secure-port=" + strconv.Itoa(apiserverPort),
		"--tls-cert-file=" + l.pki("apiserver.crt"),
		"--tls-private-key-file=" + l.pki("apiserver.key"),
		"--client-ca-file=" + l.pki("ca.crt"),
		"--etcd-servers=" + fmt.Sprintf("https://127.0.0.1:%d", etcdPort),
		"--etcd-cafile=" + l.pki("etcd-ca.crt"),
		"--etcd-certfile=" + l.pki("apiserver-etcd.crt"),
		"--etcd-keyfile=" + l.pki("apiserver-etcd.key"),
		"--kubelet-certificate-authority=" + l.pki("ca.crt"),
		"--kubelet-client-certificate=" + l.pki("apiserver-kubelet.crt"),
		"--kubelet-client-key=" + l.pki("apiserver-kubelet.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--service-cluster-ip-range=" + ServiceSubnet,
		"--service-account-issuer=https://kubernetes.default.svc." + ClusterDomain,
		"--service-account-key-file=" + l.pki("service-accounts.key"),
		"--service-account-signing-key-file=" + l.pki("service-accounts.key"),
		"--requestheader-client-ca-file=" + l.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + l.pki("front-proxy.crt"),
		"--proxy-client-key-file=" + l.pki("front-proxy.key"),
	}
}

func (l Layout) controllersArgs() []string {
	kubeconfig := l.config("kube-controller-manager.kubeconfig")
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(controllersPort),
		"--tls-cert-file=" + l.pki("controllers-server.crt"),
		"--tls-private-key-file=" + l.pki("controllers-server.key"),
		"--client-ca-file=" + l.pki("ca.crt"),
		"--requestheader-client-ca-file=" + l.pki("front-proxy-ca.crt"),
		"--cluster-name=" + Name,
		"--cluster-signing-cert-file=" + l.pki("ca.crt"),
		"--cluster-signing-key-file=" + l.pki("ca.key"),
		"--flex-volume-plugin-dir=" + l.path("kubelet", "volume-plugins"),
		"--root-ca-file=" + l.pki("ca.crt"),
		"--service-account-private-key-file=" + l.pki("service-accounts.key"),
		"--use-service-account-credentials=true",
		// Three dozen controllers ask for a token each before they start; at the
		// default rate that alone takes seconds.
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		// There is one of it, and waiting for a lease costs seconds.
		"--leader-elect=false",
	}
}

func (l Layout) schedulerArgs() []string {
	kubeconfig := l.config("kube-scheduler.kubeconfig")
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(schedulerPort),
		"--tls-cert-file=" + l.pki("scheduler-server.crt"),
		"--tls-private-key-file=" + l.pki("scheduler-server.key"),
		"--client-ca-file=" + l.pki("ca.crt"),
		"--requestheader-client-ca-file=" + l.pki("front-proxy-ca.crt"),
		"--leader-elect=false",
	}
}

func (l Layout) kubeletArgs() []string {
	return []string{
		"--config=" + l.config("kubelet.yaml"),
		"--kubeconfig=" + l.config("kubelet.kubeconfig"),
		"--root-dir=" + l.path("kubelet"),
		"--cert-dir=" + l.path("kubelet", "pki"),
		"--hostname-override=" + NodeName,
		"--node-ip=" + NodeAddress,
	}
}
