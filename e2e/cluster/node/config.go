package node

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed files
var files embed.FS

// kubeletClient is the user as whom the API server speaks to the kubelet.
const kubeletClient = "kube-apiserver-kubelet-client"

// values is what the files may refer to.
type values struct {
	Name, NodeName, NodeAddress, ClusterDomain, Bridge              string
	PodSubnet, PodSubnet6, PodRangeStart, ServiceSubnet, DNSAddress string
	Dir, CNIPlugins, KubeletClient                                  string
	PauseImage, CoreDNSImage                                        string
	KubeletPort, KubeletHealthPort                                  int
	ProxyHealthPort, ProxyMetricsPort                               int
}

func (l Layout) values() values {
	return values{
		Name: Name, NodeName: NodeName, NodeAddress: NodeAddress, ClusterDomain: ClusterDomain, Bridge: Bridge,
		PodSubnet: PodSubnet, PodSubnet6: podSubnet6(), PodRangeStart: PodRangeStart, ServiceSubnet: ServiceSubnet, DNSAddress: DNSAddress,
		Dir: l.Dir, CNIPlugins: cniPlugins, KubeletClient: kubeletClient,
		PauseImage: l.Images.Pause, CoreDNSImage: l.Images.CoreDNS,
		KubeletPort: kubeletPort, KubeletHealthPort: kubeletHealthPort,
		ProxyHealthPort: proxyHealthPort, ProxyMetricsPort: proxyMetricsPort,
	}
}

// render fills the file of that name with data. A name that data lacks is an
// error.
func render(name string, data any) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(files, "files/"+name)
	if err != nil {
		return nil, fmt.Errorf("parsing %s: %w", name, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// writeConfigs writes every file that a daemon reads, kubeconfigs included.
// The PKI must be there.
func (l Layout) writeConfigs() error {
	for name, to := range map[string]string{
		"kubelet.yaml":    "kubelet.yaml",
		"kube-proxy.yaml": "kube-proxy.yaml",
		"containerd.toml": "containerd.toml",
		"cni.conflist":    "cni/" + Name + ".conflist",
		"addons.yaml":     "addons.yaml",
		"masquerade.nft":  "masquerade.nft",
	} {
		b, err := render(name, l.values())
		if err != nil {
			return err
		}
		if err := writeFile(l.config(to), b); err != nil {
			return err
		}
	}
	// Pods with the policy Default, CoreDNS among them, resolve nothing.
	if err := writeFile(l.config("resolv.conf"), []byte("# closed cluster: no server\n")); err != nil {
		return err
	}
	for cert, to := range map[string]string{
		"controllers": l.config("kube-controller-manager.kubeconfig"),
		"scheduler":   l.config("kube-scheduler.kubeconfig"),
		"kubelet":     l.config("kubelet.kubeconfig"),
		"proxy":       l.config("kube-proxy.kubeconfig"),
		"admin":       l.Kubeconfig(),
	} {
		if err := l.writeKubeconfig(cert, to); err != nil {
			return fmt.Errorf("writing the kubeconfig of %s: %w", cert, err)
		}
	}
	return nil
}

// writeKubeconfig writes one that holds everything it refers to, so that a
// copy of it works anywhere.
func (l Layout) writeKubeconfig(cert, to string) error {
	data := map[string]string{"Name": Name, "Server": serverURL(), "User": Name + "-" + cert}
	for key, file := range map[string]string{"CA": "ca.crt", "Cert": cert + ".crt", "Key": cert + ".key"} {
		b, err := os.ReadFile(l.pki(file))
		if err != nil {
			return err
		}
		data[key] = base64.StdEncoding.EncodeToString(b)
	}
	b, err := render("kubeconfig.yaml", data)
	if err != nil {
		return err
	}
	return writeFile(to, b)
}

func serverURL() string { return fmt.Sprintf("https://%s:%d", NodeAddress, apiserverPort) }

// writeFile makes the folders on the way. All files are for root alone, since
// some hold keys.
func writeFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// Beside it and renamed: one that is killed meanwhile leaves no half file.
	temp := path + ".new"
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// podSubnet6 is empty where the kernel has no IPv6.
func podSubnet6() string {
	if exists("/proc/sys/net/ipv6") {
		return PodSubnet6
	}
	return ""
}
