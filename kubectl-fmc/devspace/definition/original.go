package definition

import (
	"github.com/formicarium/formicarium/internal/api"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
)

// original decodes a definition of the original Formicarium:
//
//	{"name": "orders",
//	 "containers": [{"name": "orders", "image": "…", "syncable?": true, "env": {"LOG": "debug"}}],
//	 "interfaces": [{"name": "default", "container": "orders", "port": 8080, "type": "http", "expose?": true}],
//	 "patches":    [{"kind": "Deployment", "patch": {"op": "add", "path": "/…", "value": 1}}]}
//
// The name on the command line goes before the file's, as it always did. What
// has no counterpart any more (hosts outside of the cluster) is told and left
// out. Variables are not replaced: they never were.
func (d *decoder) original(n *yaml.Node, name string) *Service {
	s := &Service{Restart: true, Trace: true, Replicas: 1, Path: d.folder}
	var patches *yaml.Node
	ignored := func(n *yaml.Node, path string) { d.text(n, path) }
	d.mapping(n, "", fields{
		"name":     func(n *yaml.Node, path string) { s.Name = d.text(n, path) },
		"service":  ignored,
		"devspace": ignored,
		"containers": func(n *yaml.Node, path string) {
			d.items(n, path, func(n *yaml.Node, path string) { s.Containers = append(s.Containers, d.originalContainer(n, path)) })
		},
		"interfaces": func(n *yaml.Node, path string) {
			d.items(n, path, func(n *yaml.Node, path string) { s.Ports = append(s.Ports, d.originalInterface(n, path)) })
		},
		"patches": func(n *yaml.Node, path string) {
			patches = n
			d.items(n, path, func(n *yaml.Node, path string) { s.Patches = append(s.Patches, d.patches(n, path)...) })
		},
	})
	if name != "" {
		s.Name = name
	}
	d.checkOriginal(n, s)
	d.checkPatchKinds(patches, "patches", s)
	if !s.Synced() {
		s.Path = ""
	}
	return s
}

func (d *decoder) originalContainer(n *yaml.Node, path string) Container {
	var c Container
	sync := func(n *yaml.Node, path string) { c.Sync = d.boolean(n, path) }
	d.mapping(n, path, fields{
		"name":      func(n *yaml.Node, path string) { c.Name = d.text(n, path) },
		"image":     func(n *yaml.Node, path string) { c.Image = d.text(n, path) },
		"syncable?": sync,
		"syncable":  sync, // the spelling of its TypeScript types
		"env":       func(n *yaml.Node, path string) { c.Env = d.env(n, path) },
	})
	if c.Name == "" || c.Image == "" {
		d.fault(n, path, "want name and image")
	}
	return c
}

func (d *decoder) originalInterface(n *yaml.Node, path string) Port {
	p := Port{Protocol: corev1.ProtocolTCP}
	d.mapping(n, path, fields{
		"name":      func(n *yaml.Node, path string) { p.Name = d.text(n, path) },
		"port":      func(n *yaml.Node, path string) { p.Port = d.port(n, path) },
		"container": func(n *yaml.Node, path string) { p.Container = d.text(n, path) },
		"type": func(n *yaml.Node, path string) {
			if d.oneOf(n, path, "http", "https", "tcp", "udp", "nrepl") == "udp" {
				p.Protocol = corev1.ProtocolUDP
			}
		},
		"expose?": func(n *yaml.Node, path string) {
			if d.boolean(n, path) {
				d.warn(n, path, "no effect: nothing of a devspace is reachable from outside the cluster; use kubectl port-forward")
			}
		},
	})
	if p.Name == "" || p.Port == 0 || p.Container == "" {
		d.fault(n, path, "want name, port and container")
		return p
	}
	return d.completePort(n, path, p)
}

func (d *decoder) checkOriginal(n *yaml.Node, s *Service) {
	if err := checkServiceName(s.Name); err != nil {
		d.fault(n, "", "%v", err)
	}
	if len(s.Containers) == 0 {
		d.fault(n, "containers", "has no container")
	}
	containers, ports := map[string]bool{}, map[string]bool{}
	for _, c := range s.Containers {
		if containers[c.Name] {
			d.fault(n, "containers", "two are called %q", c.Name)
		}
		containers[c.Name] = true
		if err := api.CheckName("container", c.Name); c.Name != "" && err != nil {
			d.fault(n, "containers", "%v", err)
		}
	}
	for _, p := range s.Ports {
		if ports[p.Name] {
			d.fault(n, "interfaces", "two are called %q", p.Name)
		}
		ports[p.Name] = true
		if ports[p.number()] && p.Port != 0 { // no name has a slash
			d.fault(n, "interfaces", "two are %s", p.number())
		}
		ports[p.number()] = true
		if p.Container != "" && !containers[p.Container] {
			d.fault(n, "interfaces", "%s names container %q, which is not there", p.Name, p.Container)
		}
	}
}
